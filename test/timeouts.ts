/**
 * Guards against hanging, all in one place. They are generous because they only have to be shorter than the patience of
 * whoever waits for the run: no test passes or fails by them on a machine that is merely busy.
 */

/** For one test file. */
export const fileTimeoutMs = 20 * 60_000

/** For a condition that a test waits for. */
export const conditionTimeoutMs = 2 * 60_000
