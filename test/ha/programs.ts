import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The programs of Debian's packages that make up a cluster, and the processes that run them. */
export const programs = {
  patroni: '/usr/bin/patroni',
  etcd: '/usr/bin/etcd',
  haproxy: '/usr/sbin/haproxy',
  postgresBin: '/usr/lib/postgresql/15/bin',
  /** Shifts the clock of a process that preloads it. */
  faketime: findFaketime(),
}

const packages: Record<string, string> = {
  patroni: programs.patroni,
  'etcd-server': programs.etcd,
  haproxy: programs.haproxy,
  'postgresql-15': join(programs.postgresBin, 'postgres'),
  libfaketime: programs.faketime,
}

/** Returns the names of the packages that are not installed. */
export function missingPackages(): string[] {
  return Object.keys(packages).filter((name) => !existsSync(String(packages[name])))
}

/** Its folder has the name of the machine's architecture. */
function findFaketime(): string {
  const architecture = readdirSync('/usr/lib').find((name) => existsSync(`/usr/lib/${name}/faketime`))
  return `/usr/lib/${architecture ?? ''}/faketime/libfaketimeMT.so.1`
}

/** The user and group that run the programs if the tests run as root, which PostgreSQL rejects. */
const unprivileged = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}

// When the pipe to this process closes, however this process ends: kills all processes whose working directory is in the
// folder, until none is left, and removes the folder. A server of Patroni is not a child of this process.
const cleanUp = `trap '' INT TERM; cat
while
  found=
  for process in /proc/[0-9]*; do
    case "$(readlink "$process/cwd")" in "$FOLDER"/*) found=1; kill -KILL "\${process#/proc/}" ;; esac
  done
  [ -n "$found" ]
do sleep 0.1; done
rm -rf "$FOLDER"`

/** A folder for the files of programs. Programs that were started in it end with this process. */
export type Workplace = {
  /** Returns the path of a new folder that the programs may write to. */
  addFolder: (name: string) => string
  /** Starts a program in a folder. Its output is appended to the file `log` of the folder. */
  start: (folder: string, command: string[], env?: Record<string, string>) => Process
  /** The last lines of each program's output, of those that match. */
  logs: (pattern?: RegExp) => [program: string, lines: string[]][]
  close: () => Promise<void>
}

export type Process = {
  child: ChildProcess
  signal: (name: NodeJS.Signals) => void
  kill: () => Promise<void>
}

export function openWorkplace(): Workplace {
  const root = mkdtempSync(join(tmpdir(), 'kener-ha-'))
  give(root)
  const cleaner = spawn('sh', ['-c', cleanUp], {
    env: { PATH: process.env.PATH, FOLDER: root },
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  const folders: string[] = []
  return {
    addFolder: (name) => {
      const folder = join(root, name)
      folders.push(name)
      mkdirSync(folder, { mode: 0o700 })
      give(folder)
      return folder
    },
    start: (folder, [program = '', ...args], env = {}) => {
      const log = openSync(join(folder, 'log'), 'a')
      const child = spawn(program, args, {
        ...unprivileged,
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: folder, LC_ALL: 'C.UTF-8', ...env },
        stdio: ['ignore', log, log],
      })
      const ended = once(child, 'exit')
      return {
        child,
        signal: (name) => {
          child.kill(name)
        },
        kill: async () => {
          child.kill('SIGKILL')
          await ended
        },
      }
    },
    logs: (pattern = /./) =>
      folders.map((name) => [
        name,
        readFileSync(join(root, name, 'log'), 'utf8')
          .split('\n')
          .filter((line) => pattern.test(line))
          .slice(-20),
      ]),
    close: async () => {
      cleaner.stdin.end()
      await once(cleaner, 'exit')
    },
  }
}

function give(folder: string): void {
  if (unprivileged.uid !== undefined) chownSync(folder, unprivileged.uid, unprivileged.gid)
}

/** Returns the ids of all processes whose working directory is this folder. */
export function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && workingDirectory(name) === folder)
    .map(Number)
}

function workingDirectory(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    // The process has exited, or belongs to another user.
    return undefined
  }
}

/** Ignores that the process has exited: backends exit at any time. */
export function signalIfRunning(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
