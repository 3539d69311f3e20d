import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { main } from '../../src/cli/main.ts'
import { Output } from '../process.ts'
import { ask } from '../slow/client.ts'
import { scaled } from '../slow/scale.ts'
import { check, clusterRecoveredAt, isOk, recoveryMsMax } from './checker.ts'
import { startCluster } from './cluster.ts'
import { faults, type System } from './faults.ts'
import { readFinal } from './final.ts'
import type { History } from './history.ts'
import { isCi, pace } from './pace.ts'
import { missingPackages, openWorkplace, type Workplace } from './programs.ts'
import { databaseUrl, startReplica } from './service.ts'
import { monitorName, startWorkload } from './workload.ts'

/**
 * Causes faults in a cluster of its own, and checks what the clients of three replicas saw. Runs all faults, or those
 * that are named. TEST_SCALE scales how often each is repeated.
 */
const { positionals } = parseArgs({ allowPositionals: true })
const names = positionals.length > 0 ? [...new Set(positionals)] : Object.keys(faults)
const unknown = names.filter((name) => !(name in faults))
if (unknown.length > 0)
  throw new Error(`Unknown: ${unknown.join(', ')}. Faults: ${Object.keys(faults).join(', ')}`)
const repetitions = scaled(3)

/** A line of the service's log that has the cause of a 500. */
const internalError = /"level":50/

/** How long all clients are watched after the system is whole again: longer than the allowed recovery. */
const watchMs = recoveryMsMax * pace.patience + 500

// Ends the links, too.
process.exit(await runUnlessMissing())

async function runUnlessMissing(): Promise<number> {
  const missing = missingPackages()
  if (missing.length === 0) return runFaults()
  print(`These packages of Debian are missing: ${missing.join(', ')}`)
  print(isCi ? '0 passed, 1 failed' : 'The tests with Patroni are skipped. 0 passed, 0 failed')
  return isCi ? 1 : 0
}

async function runFaults(): Promise<number> {
  process.on('SIGINT', () => process.exit(1))
  print(row('fault', 'cluster', 'service', 'whole', 'all', 'requests', 'writes', '503', 'slowest', 'rewinds'))
  const queue: Turn[] = []
  for (let turn = 1; turn <= repetitions; turn++) queue.push(...names.map((name) => ({ name, turn })))
  const { length } = queue
  const clusters = Array.from({ length: Math.min(pace.clusters, length) }, () => runQueue(queue))
  const failed = (await Promise.all(clusters)).reduce((sum, count) => sum + count)
  print(`${length - failed} passed, ${failed} failed`)
  return failed > 0 ? 1 : 0
}

type Turn = { name: string; turn: number }

/** Takes faults from the queue until it is empty, and causes them in a cluster of its own. Returns how many failed. */
async function runQueue(queue: Turn[]): Promise<number> {
  const workplace = openWorkplace()
  try {
    const { system, adminKey } = await startSystem(workplace)
    let failed = 0
    for (let next = queue.shift(); next; next = queue.shift()) {
      const violations = await runFault(system, adminKey, next.name, next.turn)
      // Some clean-ups take longer than their faults.
      if (queue.length > 0) await faults[next.name]?.cleanUp?.(system)
      for (const violation of violations) print(`  VIOLATION ${next.name}: ${violation}`)
      if (violations.length > 0) {
        failed++
        printLogs(workplace, internalError)
      }
    }
    return failed
  } catch (error) {
    printLogs(workplace)
    throw error
  } finally {
    await workplace.close()
  }
}

async function startSystem(workplace: Workplace): Promise<{ system: System; adminKey: string }> {
  const cluster = await startCluster(workplace)
  const { port } = cluster.balancer
  const stdout = new Output()
  const stderr = new Output()
  const args = ['keys', 'create', '--name', 'ops', '--permissions', 'admin']
  const code = await main(args, { stdout, stderr, env: { DATABASE_URL: databaseUrl(port) } })
  if (code !== 0) throw new Error(stderr.text)
  const start = (name: string) => startReplica(workplace, name, port)
  const replicas = await Promise.all([start('replica1'), start('replica2'), start('replica3')] as const)
  return { system: { cluster, replicas }, adminKey: stdout.text.trim() }
}

/** @returns the violations */
async function runFault(
  system: System,
  adminKey: string,
  faultName: string,
  turn: number,
): Promise<string[]> {
  const { cluster, replicas } = system
  const kind = faults[faultName]
  if (!kind) throw new Error(`Unknown: ${faultName}`)
  const databasePort = cluster.balancer.port
  const origins = replicas.map(({ origin }) => origin)
  const name = `${faultName}-${turn}`
  const startedAt = performance.now()
  await kind.prepare?.(system)
  for (const replica of replicas.keys())
    await createMonitor(origins[1] ?? '', adminKey, monitorName(name, replica))
  const workload = await startWorkload({ origins, adminKey, databasePort }, name)
  await workload.untilServed()
  const countRewinds = () => cluster.nodes.reduce((sum, { rewinds }) => sum + rewinds(), 0)
  const rewindsBefore = countRewinds()

  const injectedAt = performance.now()
  const concerned = await kind.inject(system)
  await cluster.restore()
  const wholeAt = performance.now()
  await workload.untilServed()
  await delay(watchMs)
  await workload.stop()

  const { operations, samples } = workload
  const history: History = {
    operations,
    samples,
    fault: { injectedAt, ...concerned },
    final: await readFinal(databasePort, name),
  }
  const summary = summarize(name, history, { startedAt, wholeAt, rewinds: countRewinds() - rewindsBefore })
  print(`${summary}  ${kind.description}`)
  return check(history, pace.patience)
}

async function createMonitor(origin: string, key: string, tag: string): Promise<void> {
  const { status } = await ask(`${origin}/api/monitors/${tag}`, { key, method: 'PUT', body: { name: tag } })
  if (status !== 201) throw new Error(`The monitor was not created: ${status}`)
}

function printLogs(workplace: Workplace, pattern?: RegExp): void {
  for (const [program, lines] of workplace.logs(pattern)) {
    for (const line of lines) print(`${program}: ${line}`)
  }
}

type Run = { startedAt: number; wholeAt: number; rewinds: number }

function summarize(name: string, history: History, { startedAt, wholeAt, rewinds }: Run): string {
  const { operations, fault } = history
  const concerned = fault.replica?.index
  const rejected = operations.filter(({ status }) => status === null || status >= 500)
  const lastRejectedAt = rejected
    .filter(({ replica, startedAt }) => replica !== concerned && startedAt > fault.injectedAt - 3_000)
    .reduce((last, { endedAt }) => Math.max(last, endedAt), fault.injectedAt)
  return row(
    name,
    seconds(clusterRecoveredAt(history) - fault.injectedAt),
    seconds(lastRejectedAt - fault.injectedAt),
    seconds(wholeAt - fault.injectedAt),
    seconds(performance.now() - startedAt),
    operations.length,
    operations.filter((operation) => operation.kind !== 'use' && isOk(operation)).length,
    rejected.length,
    seconds(Math.max(...operations.map(({ startedAt, endedAt }) => endedAt - startedAt))),
    rewinds,
  )
}

function row(name: string, ...cells: (string | number)[]): string {
  return name.padEnd(22) + cells.map((cell) => String(cell).padStart(10)).join('')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
