/**
 * Scales how often a long test repeats: TEST_SCALE=0.2 for CI, which runs on every change; 1 by default. The checks are
 * the same at any scale.
 */
export function scaled(count: number): number {
  return Math.ceil(count * Number(process.env.TEST_SCALE ?? 1))
}
