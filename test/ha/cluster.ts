import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { freePort } from '../postgres.ts'
import { conditionTimeoutMs } from '../timeouts.ts'
import { type Link, startLink } from './link.ts'
import { pace } from './pace.ts'
import { type Process, processesIn, programs, signalIfRunning, type Workplace } from './programs.ts'

/**
 * Three PostgreSQL servers under Patroni with a synchronous standby, etcd, and HAProxy in front of the primary, all on
 * loopback.
 */
export type Cluster = {
  nodes: Node[]
  etcd: Restartable
  /** HAProxy, which leads to the primary. */
  balancer: Restartable & { port: number }
  /** Returns the node that Patroni's REST API calls the primary. Waits until there is one. */
  primary: () => Promise<Node>
  /** Returns the synchronous standby of the primary. Waits until there is one. */
  synchronousStandby: () => Promise<Node>
  /** Starts what does not run, and waits until all nodes replicate and HAProxy leads to the primary. */
  restore: () => Promise<void>
  switchover: (from: Node, to: Node) => Promise<void>
}

export type Restartable = {
  kill: () => Promise<void>
  start: () => void
}

export type Node = {
  name: string
  port: number
  /** Leads the other nodes to its PostgreSQL. */
  replicationLink: Link
  /** Leads its Patroni to etcd. */
  etcdLink: Link
  patroni: Restartable & { signal: (name: NodeJS.Signals) => void }
  /** Sends a signal to the server and all its backends. */
  signalPostgres: (name: NodeJS.Signals) => void
  killPostgres: () => void
  status: () => Promise<NodeStatus | undefined>
  /**
   * Some seconds after the next start of its PostgreSQL, its clock is ahead by so many seconds. Not at once, because Patroni
   * compares the start with its own clock.
   */
  shiftClock: (seconds: number) => void
  /** How often Patroni has rewound it with pg_rewind, because its timeline had diverged. */
  rewinds: () => number
}

/** From GET /patroni. */
type NodeStatus = { state: string; role: string; sync_standby?: true; timeline?: number }

/** In seconds. */
const patroniTimes = { ttl: pace.ttl, loop_wait: 1, retry_timeout: 3 }

const scope = 'kener'
export const role = 'kener'
const superuser = 'postgres'

export async function startCluster(workplace: Workplace): Promise<Cluster> {
  const etcdPorts = { client: await freePort(), peer: await freePort() }
  const etcd = startEtcd(workplace, etcdPorts)
  await until('etcd answers', () => isOk(`http://127.0.0.1:${etcdPorts.client}/health`))
  const nodes: Node[] = []
  const restPorts: number[] = []
  for (const index of [1, 2, 3]) {
    restPorts.push(await freePort())
    nodes.push(await startNode(workplace, `node${index}`, restPorts.at(-1) ?? 0, etcdPorts.client))
    // The first node creates the database, which the others copy.
    if (index === 1)
      await until('the first node is the primary', async () => isPrimary(await nodes[0]?.status()))
  }
  const balancer = await startBalancer(workplace, nodes, restPorts)
  const cluster = { nodes, etcd, balancer }

  async function findPrimary(): Promise<Node | undefined> {
    const statuses = await Promise.all(nodes.map((node) => node.status()))
    return nodes.find((_, index) => isPrimary(statuses[index]))
  }

  async function primary(): Promise<Node> {
    return found('there is a primary', findPrimary)
  }

  async function synchronousStandby(): Promise<Node> {
    return found('there is a synchronous standby', async () => {
      const statuses = await Promise.all(nodes.map((node) => node.status()))
      return nodes.find((_, index) => statuses[index]?.sync_standby)
    })
  }

  /** One statement, so that it also shows that commits are replicated. */
  async function isWhole(): Promise<boolean> {
    const rows = await query(balancer.port, superuser, 'postgres', replicating).catch(() => [])
    return rows[0]?.streaming === '2' && rows[0].synchronous === '1'
  }

  async function restore(): Promise<void> {
    for (const part of [etcd, balancer, ...nodes.map(({ patroni }) => patroni)]) part.start()
    await until('all nodes replicate', isWhole)
    // Patroni promotes only the node that etcd names.
    await synchronousStandby()
  }

  await restore()
  await createDatabase(balancer.port)
  return {
    ...cluster,
    primary,
    synchronousStandby,
    restore,
    switchover: async (from, to) => {
      const restPort = restPorts[nodes.indexOf(from)] ?? 0
      const reply = await fetch(`http://127.0.0.1:${restPort}/switchover`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ leader: from.name, candidate: to.name }),
      })
      if (!reply.ok) throw new Error(`The switchover was rejected: ${await reply.text()}`)
    },
  }
}

const replicating = `
  select pg_logical_emit_message(true, 'test', ''), count(*)::text as streaming,
    (count(*) filter (where sync_state = 'sync'))::text as synchronous
  from pg_stat_replication where state = 'streaming'`

/** The service's role owns its database, and has no other rights. */
async function createDatabase(port: number): Promise<void> {
  await query(port, superuser, 'postgres', `create role ${role} login`)
  await query(port, superuser, 'postgres', `create database ${role} owner ${role}`)
}

/** Runs a statement on a connection of its own. */
export async function query(
  port: number,
  user: string,
  database: string,
  text: string,
  timeoutMs = 2_000,
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user,
    database,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<Record<string, unknown>>(text)
    return rows
  } finally {
    // Not end(), which waits for a server that may not respond.
    ;(client as unknown as { connection: { stream: { destroy: () => void } } }).connection.stream.destroy()
  }
}

function startEtcd(workplace: Workplace, { client, peer }: { client: number; peer: number }): Restartable {
  const folder = workplace.addFolder('etcd')
  const peerUrl = `http://127.0.0.1:${peer}`
  const clientUrl = `http://127.0.0.1:${client}`
  return restartable(() =>
    workplace.start(folder, [
      programs.etcd,
      `--data-dir=${join(folder, 'data')}`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      '--enable-v2',
      '--log-level=warn',
    ]),
  )
}

async function startNode(
  workplace: Workplace,
  name: string,
  restPort: number,
  etcdPort: number,
): Promise<Node> {
  const folder = workplace.addFolder(name)
  const data = join(folder, 'data')
  const port = await freePort()
  const replicationLink = await startLink(port)
  const etcdLink = await startLink(etcdPort)
  // YAML contains JSON.
  const configuration = join(folder, 'patroni.yml')
  const options = { name, restPort, port, folder, connectPort: replicationLink.port, etcdPort: etcdLink.port }
  writeFileSync(configuration, JSON.stringify(configurePatroni(options)))
  const shiftClock = linkBinaries(folder)
  const patroni = restartable(() => workplace.start(folder, [programs.patroni, configuration]))
  const log = join(folder, 'log')

  function signalPostgres(name: NodeJS.Signals): void {
    // The server first, so that it does not start further backends.
    signalIfRunning(Number.parseInt(readFileSync(join(data, 'postmaster.pid'), 'utf8')), name)
    for (const pid of processesIn(data)) signalIfRunning(pid, name)
  }

  return {
    name,
    port,
    replicationLink,
    etcdLink,
    patroni,
    signalPostgres,
    killPostgres: () => {
      signalPostgres('SIGKILL')
    },
    status: async () => {
      const reply = await get(`http://127.0.0.1:${restPort}/patroni`)
      // The timeout also ends the reading of the body.
      return (await reply?.json().catch(() => undefined)) as NodeStatus | undefined
    },
    shiftClock,
    rewinds: () => readFileSync(log, 'utf8').split('pg_rewind exit code=0').length - 1,
  }
}

/**
 * Creates the folder `bin` with links to the binaries of PostgreSQL, and a script for the server, whose clock the returned
 * function shifts.
 */
function linkBinaries(folder: string): (seconds: number) => void {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const name of readdirSync(programs.postgresBin)) {
    if (name !== 'postgres') symlinkSync(join(programs.postgresBin, name), join(bin, name))
  }
  const shiftClock = (seconds: number) => {
    const variables =
      seconds === 0
        ? ''
        : `LD_PRELOAD=${programs.faketime} FAKETIME=+${seconds} FAKETIME_START_AFTER_SECONDS=5 DONT_FAKE_MONOTONIC=1`
    const server = join(programs.postgresBin, 'postgres')
    writeFileSync(join(bin, 'postgres'), `#!/bin/sh\nexec env ${variables} ${server} "$@"\n`, { mode: 0o755 })
  }
  shiftClock(0)
  return shiftClock
}

function configurePatroni({ name, restPort, port, folder, connectPort, etcdPort }: PatroniOptions) {
  return {
    scope,
    name,
    restapi: { listen: `127.0.0.1:${restPort}`, connect_address: `127.0.0.1:${restPort}` },
    // Not etcd3, with which Patroni 3.0 takes the lock of the leader back after its loop was blocked: docs/decisions/0022.
    // As a proxy, so that Patroni does not connect to the address that etcd announces, past the link.
    etcd: { hosts: [`127.0.0.1:${etcdPort}`], use_proxies: true },
    bootstrap: {
      dcs: {
        ...patroniTimes,
        synchronous_mode: true,
        synchronous_mode_strict: true,
        postgresql: {
          use_pg_rewind: true,
          use_slots: true,
          parameters: {
            wal_log_hints: true,
            max_connections: 100,
            shared_buffers: '32MB',
            // A standby that a cut network separates is replaced after this time.
            wal_sender_timeout: '5s',
            wal_receiver_timeout: '5s',
            fsync: false,
          },
        },
      },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, 'no-sync'],
    },
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${connectPort}`,
      data_dir: join(folder, 'data'),
      bin_dir: join(folder, 'bin'),
      pgpass: join(folder, 'pgpass'),
      authentication: {
        superuser: { username: superuser },
        replication: { username: superuser },
        rewind: { username: superuser },
      },
      parameters: { unix_socket_directories: folder },
      pg_hba: ['host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust'],
    },
  }
}

type PatroniOptions = {
  name: string
  restPort: number
  port: number
  folder: string
  connectPort: number
  etcdPort: number
}

async function startBalancer(
  workplace: Workplace,
  nodes: Node[],
  restPorts: number[],
): Promise<Restartable & { port: number }> {
  const port = await freePort()
  const folder = workplace.addFolder('haproxy')
  const configuration = join(folder, 'haproxy.cfg')
  const servers = nodes.map(
    (node, index) => `  server ${node.name} 127.0.0.1:${node.port} check port ${restPorts[index] ?? 0}`,
  )
  writeFileSync(
    configuration,
    `
defaults
  mode tcp
  timeout connect 1s
  timeout check 1s
  timeout client 1h
  timeout server 1h
listen primary
  bind 127.0.0.1:${port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
${servers.join('\n')}
`,
  )
  return {
    ...restartable(() => workplace.start(folder, [programs.haproxy, '-db', '-f', configuration])),
    port,
  }
}

/** Starts a program that can be killed and started again. */
function restartable(run: () => Process): Restartable & { signal: (name: NodeJS.Signals) => void } {
  let running: Process | undefined = run()
  return {
    kill: async () => {
      const killed = running
      running = undefined
      await killed?.kill()
    },
    start: () => {
      if (running && running.child.exitCode === null && running.child.signalCode === null) return
      running = run()
    },
    signal: (name) => running?.signal(name),
  }
}

function isPrimary(status: NodeStatus | undefined): boolean {
  return status?.state === 'running' && status.role === 'master'
}

/** Returns undefined if there is no response. */
async function get(url: string): Promise<Response | undefined> {
  return fetch(url, { signal: AbortSignal.timeout(1_000), headers: { connection: 'close' } }).catch(
    () => undefined,
  )
}

async function isOk(url: string): Promise<boolean> {
  return (await get(url))?.ok ?? false
}

/** Waits until the condition holds. @throws Error after conditionTimeoutMs */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await found(what, async () => ((await condition()) ? true : undefined))
}

/** Waits until there is a result. @throws Error after conditionTimeoutMs */
async function found<Result>(what: string, find: () => Promise<Result | undefined>): Promise<Result> {
  const deadline = performance.now() + conditionTimeoutMs
  for (;;) {
    const result = await find()
    if (result !== undefined) return result
    if (performance.now() > deadline) throw new Error(`This did not happen: ${what}`)
    await delay(100)
  }
}
