import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createDatabase, times, waitUntil } from '../helper.ts'
import { freePort } from '../postgres.ts'
import { cliProcess, embeddedDatabase, programs, temporaryDirectory } from '../process.ts'
import { ask, keepAlive } from './client.ts'
import { isReady, startServer } from './replicas.ts'

/** Starts the service with stdout on a full disk. */
async function startWithFullDisk(t: Test, env: Record<string, string>) {
  const port = String(await freePort())
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [join(programs, 'server.js')], {
    cwd: temporaryDirectory(t),
    env: { PORT: port, ...env },
    stdio: ['ignore', full, 'inherit'],
  })
  closeSync(full)
  t.teardown(() => child.kill('SIGKILL'))
  const origin = `http://127.0.0.1:${port}`
  await waitUntil(() => {
    if (child.exitCode !== null) throw new Error(`The process ended with ${child.exitCode}`)
    return isReady(origin)
  })
  return { child, origin }
}

await t.test('a full disk under stdout does not end the process, and loses only log lines', async (t) => {
  const metricsPort = String(await freePort())
  const DATABASE_URL = await createDatabase(t)
  const { child, origin } = await startWithFullDisk(t, { DATABASE_URL, METRICS_PORT: metricsPort })
  const agent = keepAlive()
  t.teardown(() => {
    agent.destroy()
  })
  for (let round = 0; round < 60; round++) {
    const replies = await times(100, () => ask(`${origin}/healthz`, { agent }))
    if (replies.some(({ status }) => status !== 200)) t.fail('the service no longer answers')
  }
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  t.match(metrics, /^kener_log_lines_dropped_total [1-9]/m, 'lines beyond those that are kept are counted')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
})

await t.test('a first key that cannot be printed is deleted, and the service serves', async (t) => {
  const DATA_DIR = await embeddedDatabase(t)
  const { child } = await startWithFullDisk(t, { DATA_DIR })
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
  const { stdout } = await cliProcess(t, ['keys', 'list'], { DATA_DIR })
  t.notMatch(stdout, /first-admin/)
})

await t.test('a reader of stdout that is stuck delays neither requests nor SIGTERM', async (t) => {
  const { child, output, origin } = await startServer(t, await createDatabase(t), { LOG_LEVEL: 'info' })
  const agent = keepAlive()
  t.teardown(() => {
    agent.destroy()
  })
  child.stdout.pause()
  for (let round = 0; round < 80; round++) {
    const replies = await times(100, () => ask(`${origin}/healthz`, { agent }))
    if (replies.some(({ status }) => status !== 200)) t.fail('the service no longer answers')
  }
  child.stdout.resume()
  await waitUntil(() => /"droppedLines":[1-9]/.test(output.stdout))
  const lines = output.stdout.trim().split('\n')
  t.doesNotThrow(() => lines.map((line) => JSON.parse(line) as unknown), 'no line is cut')
  child.stdout.pause()
  for (let round = 0; round < 20; round++) await times(100, () => ask(`${origin}/healthz`, { agent }))
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
  child.stdout.resume()
})

await t.test('an error at the start ends the process even if stderr is full or stuck', async (t) => {
  const full = openSync('/dev/full', 'w')
  for (const stderr of [full, 'pipe'] as const) {
    const child = spawn(process.execPath, [join(programs, 'server.js')], {
      cwd: temporaryDirectory(t),
      env: { PORT: 'x'.repeat(100_000) },
      stdio: ['ignore', 'ignore', stderr],
    })
    t.teardown(() => child.kill('SIGKILL'))
    t.same(await once(child, 'exit'), [1, null])
  }
  closeSync(full)
})
