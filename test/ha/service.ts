import { join } from 'node:path'
import { freePort } from '../postgres.ts'
import { programs } from '../process.ts'
import { isReady } from '../slow/replicas.ts'
import { role, until } from './cluster.ts'
import { type Link, startLink } from './link.ts'
import type { Process, Workplace } from './programs.ts'

/** A process of the service, which reaches the database through a link of its own. */
export type Replica = {
  origin: string
  link: Link
  signal: (name: NodeJS.Signals) => void
  kill: () => Promise<void>
  /** Starts it again, and waits until it is ready. */
  restart: () => Promise<void>
}

/** High limits, so that only those of the tested keys are reached. */
const environment = {
  LOG_LEVEL: 'warn',
  DATABASE_POOL_MAX: '6',
  RATE_LIMIT_MAX: '1000000',
  AUTH_FAILURE_LIMIT_MAX: '1000000',
}

export async function startReplica(
  workplace: Workplace,
  name: string,
  databasePort: number,
): Promise<Replica> {
  const link = await startLink(databasePort)
  const port = await freePort()
  const folder = workplace.addFolder(name)
  const origin = `http://127.0.0.1:${port}`
  let running: Process

  async function start(): Promise<void> {
    running = workplace.start(folder, [process.execPath, join(programs, 'server.js')], {
      ...environment,
      PORT: String(port),
      DATABASE_URL: databaseUrl(link.port),
    })
    await until(`${name} is ready`, () => isReady(origin))
  }

  await start()
  return {
    origin,
    link,
    signal: (name) => {
      running.signal(name)
    },
    kill: () => running.kill(),
    restart: start,
  }
}

export function databaseUrl(port: number): string {
  return `postgres://${role}@127.0.0.1:${port}/${role}`
}
