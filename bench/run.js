/**
 * npm run bench -- [--quick | --smoke] [--only me,lists,writes,floods,starts,replicas] [--rounds N] [--seconds N] [--json FILE]
 *
 * Measures every contender in one run on one machine, in turns, so that other load affects all; prints the medians of
 * the rounds, and compares them with the targets. Uses the PostgreSQL at DATABASE_URL, whose user must be able to create databases, or starts one.
 */
import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { measureFloods } from './floods.js'
import { openPlace } from './place.js'
import { measureReplicas } from './replicas.js'
import { compareRequests } from './requests.js'
import { progress } from './stored.js'
import { compareWithTargets, findMissed } from './targets.js'
import { measureStarts } from './starts.js'
import { measureWrites } from './writes.js'

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    // Only shows that the benchmark runs. The figures are not meaningful.
    smoke: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    json: { type: 'string' },
  },
})
const full = {
  rounds: 5,
  seconds: 5,
  // V8 has optimized the code of a service after about 100,000 requests.
  warmUpSeconds: 5,
  restartSeconds: 8,
  keys: 10_000,
  storedKeys: 1_000_000,
  monitors: 10_000,
  history: 100,
  incidents: 100_000,
  reporting: 1_000,
}
const quick = { ...full, rounds: 3, seconds: 2 }
const smoke = {
  rounds: 1,
  // Load has a number of requests instead.
  seconds: 0,
  warmUpSeconds: 0,
  restartSeconds: 0,
  keys: 50,
  storedKeys: 1_000,
  monitors: 200,
  history: 2,
  incidents: 500,
  reporting: 50,
}
const extent = { ...(flags.smoke ? smoke : flags.quick ? quick : full) }
if (flags.rounds) extent.rounds = Number(flags.rounds)
if (flags.seconds) extent.seconds = Number(flags.seconds)

const others = {
  writes: measureWrites,
  floods: measureFloods,
  starts: measureStarts,
  replicas: measureReplicas,
}
const parts = flags.only?.split(',') ?? ['me', 'lists', ...Object.keys(others)]

const began = performance.now()
const place = await openPlace(process.env.DATABASE_URL)
try {
  const compared = parts.filter((part) => !(part in others))
  const rows = compared.length > 0 ? await compareRequests(place, extent, compared) : []
  const figures = {}
  for (const part of parts.filter((part) => part in others)) {
    progress(`measuring ${part}`)
    Object.assign(figures, await others[part](place, extent))
  }
  const ratios = compareWithTargets(rows)
  const missed = findMissed(rows, ratios, figures)
  const result = { machine: await describeMachine(), ratios, missed, figures, rows }
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`)
  print(result)
} finally {
  await place.close()
}

async function describeMachine() {
  const gigabytes = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores (${cpus()[0].model.trim()}), ${gigabytes} GiB, Node ${process.versions.node}, PostgreSQL ${await place.postgresVersion()}`
}

/** Prints the table of docs/performance.md. */
function print({ machine, ratios, missed, figures, rows }) {
  const { rounds, seconds } = extent
  console.log(`\n${machine}; 50 connections, medians of ${rounds} rounds of ${seconds} s\n`)
  console.log('| | requests/s | p50 ms | p99 ms | memory MB | statements/request |')
  console.log('|---|--:|--:|--:|--:|--:|')
  for (const row of rows) {
    const cells = [
      row.name,
      row.requestsPerSecond.toFixed(0),
      row.p50Ms.toFixed(2),
      row.p99Ms.toFixed(2),
      row.memoryMb.toFixed(0),
      row.statementsPerRequest === null ? '' : row.statementsPerRequest.toFixed(2),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  }
  console.log()
  for (const [name, { ratio, atLeast }] of Object.entries(ratios)) {
    console.log(`${name.padEnd(26)} ${ratio.toFixed(3)}${atLeast === null ? '' : `  (at least ${atLeast})`}`)
  }
  for (const line of missed) console.log(`MISSED: ${line}`)
  console.log()
  for (const [name, figure] of Object.entries(figures)) {
    console.log(`${name}: ${figure >= 100 ? figure.toFixed(0) : figure.toFixed(2)}`)
  }
  console.log(`\nmeasured in ${((performance.now() - began) / 1000).toFixed(0)} s`)
}
