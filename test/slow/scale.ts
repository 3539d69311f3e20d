const scale = Number(process.env.TEST_SCALE ?? 1)

/**
 * Scales how often a long test repeats: TEST_SCALE=0.2 for CI, which runs on every change; 1 by default. The checks are
 * the same at any scale.
 */
export function scaled(count: number): number {
  return Math.ceil(count * scale)
}

/** Pause of a client between two requests: none by default, 40 ms in CI, where a test under load need not overload. */
export const loadPauseMs = (1 / scale - 1) * 10
