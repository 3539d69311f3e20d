/** The ratios of medians that are compared, and the least that each should be. */
const targets = [
  ['me_vs_memory_same_duties', 'ours', 'memory_same_duties', 1],
  ['me_vs_bare', 'ours', 'bare', 0.5],
  ['keys_1000_vs_1', 'keys_1000', 'ours', 0.7],
  ['stored_keys_1m_vs_10', 'stored_1m', 'stored_10', 0.95],
  ['embedded_vs_bare', 'embedded', 'bare', 0.35],
  ['monitor_vs_me', 'monitor', 'ours', 0.75],
  ['page50_vs_me', 'page50', 'ours', 0.2],
  ['page50_random_vs_me', 'page50_random', 'ours', 0.04],
  ['page50_10k_vs_100', 'page50_random', 'page50_100', 0.9],
  ['filtered_vs_page50', ['status_down', 'category'], 'page50', 0.5],
  ['status100_vs_me', 'status100', 'ours', 0.9],
  ['status10k_304_vs_me', 'status10k_304', 'ours', 0.9],
  ['page40_vs_me', 'page40', 'ours', 0.5],
  ['incidents50_random_vs_me', 'incidents50_random', 'ours', 0.05],
  ['reports_vs_me', 'reports', 'ours', 0.35],
  // Without a target.
  ['me_vs_memory', 'ours', 'memory'],
  ['me_vs_per_request_sql', 'ours', 'per_request_sql'],
  ['me_vs_better_auth', 'ours', 'better_auth'],
]

/** The p99 of each request, as a multiple of its median. */
const maxTail = 6

/** Memory of the server with 10,000 monitors after the load, in MB. */
const maxMemoryMb = 160

/** @returns the measured ratios, by name: `{ ratio, atLeast }` */
export function compareWithTargets(rows) {
  const rate = (id) => rows.find((row) => row.id === id)?.requestsPerSecond
  const ratios = {}
  for (const [name, ids, base, atLeast] of targets) {
    const rates = [ids].flat().map(rate)
    if (rates.includes(undefined) || rate(base) === undefined) continue
    ratios[name] = { ratio: Math.min(...rates) / rate(base), atLeast: atLeast ?? null }
  }
  return ratios
}

/** A figure of writes.js, and the most that it should be. */
const maxRise = { name: 'p99 of GET /api/me during PUTs of a year, ratio to without', atMost: 2 }

/** @returns a line for each target that was missed */
export function findMissed(rows, ratios, figures) {
  const missed = Object.entries(ratios)
    .filter(([, { ratio, atLeast }]) => ratio < atLeast)
    .map(([name, { ratio, atLeast }]) => `${name} is ${ratio.toFixed(3)}, not ${atLeast}`)
  const tails = rows
    .filter(({ p50Ms, p99Ms }) => p99Ms > maxTail * p50Ms)
    .map(
      ({ name, p50Ms, p99Ms }) =>
        `p99 of ${name} is ${(p99Ms / p50Ms).toFixed(1)} times its median, not ${maxTail}`,
    )
  const memory = rows
    .filter(({ id, memoryMb }) => id === 'page50' && memoryMb > maxMemoryMb)
    .map(({ memoryMb }) => `memory with 10,000 monitors is ${memoryMb.toFixed(0)} MB, not ${maxMemoryMb}`)
  const rise = figures[maxRise.name]
  const rises = rise > maxRise.atMost ? [`${maxRise.name} is ${rise.toFixed(1)}, not ${maxRise.atMost}`] : []
  return [...missed, ...tails, ...memory, ...rises]
}
