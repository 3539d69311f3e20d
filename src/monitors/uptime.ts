/** Number of reported minutes per status. */
export type StatusTotals = { up: number; degraded: number; down: number; maintenance: number }

/** Returns the share of the reported minutes that count as up, 0 to 1, or null if no minute was reported. */
export function toUptime(
  { up, degraded, down, maintenance }: StatusTotals,
  degradedCountsAsDown: boolean,
): number | null {
  const reported = up + degraded + down + maintenance
  const good = up + maintenance + (degradedCountsAsDown ? 0 : degraded)
  return reported > 0 ? good / reported : null
}
