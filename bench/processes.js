/** The processes that a measurement is made of: contenders, and those who ask of them. */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

const here = import.meta.dirname

const { scripts } = JSON.parse(readFileSync(`${here}/../package.json`, 'utf8'))
/** What `npm start` tells Node. */
const startFlags = scripts.start.split(' ').filter((word) => word.startsWith('--'))

/** Starts bench/contenders/NAME.js. It ends with us. */
export async function startContender(name, databaseUrl) {
  const child = fork(`${here}/contenders/${name}.js`, {
    env: { PATH: process.env.PATH, NODE_ENV: 'production', DATABASE_URL: databaseUrl },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const { origin, key } = await message(child, name)
  return { origin, keys: [{ authorization: `Bearer ${key}` }], ...control(child) }
}

/**
 * Starts kener-api as `npm start` does, and waits for its first answer.
 * @returns also `firstAnswerMs`, from its start
 */
export async function startKener(env, execArgv = []) {
  const began = performance.now()
  // Logs are written, to nowhere: what a log costs its reader is not measured.
  const child = fork(`${here}/../dist/src/server.js`, {
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
  while (!(await answers(`${origin}/healthz`))) {
    if (child.exitCode !== null) throw new Error('kener-api did not start')
  }
  return { origin, firstAnswerMs: performance.now() - began, ...control(child) }
}

async function answers(url) {
  try {
    return (await fetch(url)).ok
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 5))
    return false
  }
}

/**
 * Lets autocannon ask, in a process of its own: 50 connections unless told.
 * @returns {{ started: Promise<void>, done: Promise<object> }} what load.js says; fails when a reply was not `status`
 */
export function load({ status = 200, ...orders }) {
  const child = fork(`${here}/load.js`, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  child.send({ connections: 50, ...orders })
  const started = message(child, 'load')
  const done = started
    .then(() => message(child, 'load'))
    .then((found) => {
      const others = Object.keys(found.statuses).filter((seen) => ![status].flat().includes(Number(seen)))
      if (others.length > 0 || found.errors > 0 || found.total === 0) {
        throw new Error(
          `${orders.url}: ${JSON.stringify({ statuses: found.statuses, errors: found.errors })}`,
        )
      }
      return found
    })
  return { started, done }
}

/** @returns request headers with the key that was stored in the embedded database in this directory */
export async function fillEmbedded(dataDir) {
  const child = fork(`${here}/fill-embedded.js`, {
    env: { PATH: process.env.PATH, DATA_DIR: dataDir },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const keys = await message(child, 'fill-embedded')
  if (child.exitCode === null) await once(child, 'exit')
  return keys
}

async function message(child, name) {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${name} ended with ${code}`)
  })
  const [said] = await Promise.race([once(child, 'message'), ended])
  ended.catch(() => {})
  return said
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
