/** The processes of a measurement: the contenders, and the load generators. */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

const here = import.meta.dirname

/** A number of requests instead of a duration, because a slow machine may answer none in a short time. */
const isSmoke = process.argv.includes('--smoke')

const { scripts } = JSON.parse(readFileSync(`${here}/../package.json`, 'utf8'))
/** Node options of `npm start`. */
const startFlags = scripts.start.split(' ').filter((word) => word.startsWith('--'))

/** Starts bench/contenders/NAME.js, which exits with this process. */
export async function startContender(name, databaseUrl) {
  const child = fork(`${here}/contenders/${name}.js`, {
    env: { PATH: process.env.PATH, NODE_ENV: 'production', DATABASE_URL: databaseUrl },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const { origin, key } = await message(child, name)
  return { origin, keys: [{ authorization: `Bearer ${key}` }], ...control(child) }
}

/**
 * Starts kener-api as `npm start` does, and waits for its first response.
 * @returns also `firstResponseMs`, measured from its start
 */
export async function startKener(env, execArgv = []) {
  const began = performance.now()
  // Logs are written, but discarded: reading them is not part of the measurement.
  const child = fork(`${here}/../dist/src/bundle/server.js`, {
    execArgv: [...startFlags, ...execArgv],
    cwd: env.DATA_DIR ?? here,
    env: {
      PATH: process.env.PATH,
      RATE_LIMIT_MAX: '1000000000',
      PUBLIC_RATE_LIMIT_MAX: '1000000000',
      ...env,
    },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const origin = `http://127.0.0.1:${env.PORT}`
  while (!(await isHealthy(`${origin}/healthz`))) {
    if (child.exitCode !== null) throw new Error('kener-api did not start')
  }
  return { origin, firstResponseMs: performance.now() - began, ...control(child) }
}

async function isHealthy(url) {
  try {
    return (await fetch(url)).ok
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 5))
    return false
  }
}

/** Processes that have finished, for the next load: starting one takes longer than a short load. */
const idleLoads = []

export function stopLoads() {
  for (const child of idleLoads.splice(0)) child.disconnect()
}

/**
 * Runs autocannon in a separate process, with 50 connections by default.
 * @returns {{ started: Promise<void>, done: Promise<object> }} the results of load.js; rejects if a response does not
 *   have the expected status
 */
export function load({ status = 200, ...options }) {
  const child = idleLoads.pop() ?? fork(`${here}/load.js`, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  child.send({ connections: 50, ...options, ...(isSmoke && { connections: 4, amount: 40 }) })
  const started = message(child, 'load')
  const done = started
    .then(() => message(child, 'load'))
    .then((result) => {
      idleLoads.push(child)
      const others = Object.keys(result.statuses).filter((seen) => ![status].flat().includes(Number(seen)))
      if (others.length > 0 || result.errors > 0 || result.total === 0) {
        throw new Error(
          `${options.url}: ${JSON.stringify({ statuses: result.statuses, errors: result.errors })}`,
        )
      }
      return result
    })
  return { started, done }
}

/** Creates a key in the embedded database in this directory. @returns request headers with it */
export async function fillEmbedded(dataDir) {
  const child = fork(`${here}/fill-embedded.js`, {
    // Not measured: WebAssembly that is not optimized is compiled in half of the time.
    execArgv: ['--liftoff-only'],
    env: { PATH: process.env.PATH, DATA_DIR: dataDir },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const keys = await message(child, 'fill-embedded')
  if (child.exitCode === null) await once(child, 'exit')
  return keys
}

function message(child, name) {
  return new Promise((resolve, reject) => {
    const onExit = (code) => reject(new Error(`${name} ended with ${code}`))
    child.once('exit', onExit)
    child.once('message', (received) => {
      child.off('exit', onExit)
      resolve(received)
    })
  })
}

function control(child) {
  return {
    memoryMb: () => Number(execFileSync('ps', ['-o', 'rss=', '-p', String(child.pid)])) / 1024,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}
