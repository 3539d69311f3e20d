/** Timeouts against hanging tests. They are long, so that no test fails because the machine is busy. */

/** For one test file. */
export const fileTimeoutMs = 20 * 60_000

/** For a condition that a test waits for. */
export const conditionTimeoutMs = 2 * 60_000
