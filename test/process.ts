import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { main } from '../src/cli/main.ts'
import { assertNoSecret, recordKeys } from './sweep.ts'

/** The bundled programs, as npm start and npm run cli run them. */
export const programs = join(import.meta.dirname, '../src/bundle')

/**
 * Compiles WebAssembly without optimizing it, which takes half of the CPU time of a start with the embedded database.
 */
const flags = ['--liftoff-only']

export type Running = {
  child: ChildProcessWithoutNullStreams
  output: { stdout: string; stderr: string }
  /** Resolves when the process has exited. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Resolves with the match when the output contains it. */
  shows: (pattern: RegExp) => Promise<RegExpExecArray>
}

/**
 * Starts server.js or cli.js with only this environment, in a temporary directory. Kills it when the test ends.
 * @param directory contains the programs of another release
 */
export function start(
  t: Test,
  program: 'server' | 'cli',
  args: string[],
  env: Record<string, string>,
  directory = programs,
): Running {
  const command = [process.execPath, ...flags, join(directory, `${program}.js`), ...args]
  return run(t, command, env, temporaryDirectory(t))
}

/** Runs a shell script, in which `cli` is the command line. */
export function shell(t: Test, script: string, env: Record<string, string>): Running {
  const definition = `cli() { ${process.execPath} ${join(programs, 'cli.js')} "$@"; }`
  return run(t, ['sh', '-c', `${definition}\n${script}`], env, temporaryDirectory(t))
}

/** Runs `npm` in the project's folder. */
export function npm(t: Test, args: string[], env: Record<string, string>): Running {
  return run(t, ['npm', ...args], { HOME: process.env.HOME ?? '', ...env }, join(programs, '../../..'))
}

function run(t: Test, command: string[], env: Record<string, string>, cwd: string): Running {
  // With env(1), because tap adds its loaders to the environment of child processes.
  const variables = Object.entries({ PATH: process.env.PATH ?? '', ...env }).map(
    ([name, value]) => `${name}=${value}`,
  )
  const child = spawn('env', ['-i', ...variables, ...command], { cwd })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()))
  const ended = new Promise<Awaited<Running['ended']>>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal })
    })
  })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    // The first key and those of the CLI are printed, but not logged.
    recordKeys(output.stdout)
    const log = output.stdout.split('\n').filter((line) => line.startsWith('{'))
    for (const line of [...log, ...output.stderr.split('\n')]) assertNoSecret(line, 'the output of a process')
  })
  async function shows(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(output.stdout) ?? pattern.exec(output.stderr)
      if (match) return match
      if (child.exitCode !== null)
        throw new Error(`The process exited without ${String(pattern)}: ${JSON.stringify(output)}`)
      await delay(10)
    }
  }
  return { child, output, ended, shows }
}

/** Runs a command of the CLI in this process, with only this environment. */
export async function cli(t: Test, args: string[], env: Record<string, string>, stdout = new Output()) {
  const stderr = new Output()
  const code = await main(args, { stdout, stderr, env })
  recordKeys(stdout.text)
  t.teardown(() => {
    assertNoSecret(stderr.text, 'the output of a command')
  })
  return { code, stdout: stdout.text, stderr: stderr.text }
}

/** Runs a command of the CLI in a new process. */
export async function cliProcess(t: Test, args: string[], env: Record<string, string>) {
  const { output, ended } = start(t, 'cli', args, env)
  const { code } = await ended
  return { code, ...output }
}

/** Collects what is written to it, or fails like a full disk (ENOSPC) or a pipe without a reader (EPIPE). */
export class Output extends Writable {
  text = ''
  readonly fd: number | undefined

  constructor({ fails, fd }: { fails?: 'ENOSPC' | 'EPIPE'; fd?: number } = {}) {
    super({
      write: (chunk: Buffer, _encoding, done) => {
        if (fails === undefined) this.text += chunk.toString()
        done(fails === undefined ? null : Object.assign(new Error(`${fails}: it fails`), { code: fails }))
      },
    })
    this.fd = fd
  }
}

/**
 * Returns the directory of an embedded database that is migrated and has no key: a copy, because creating one takes
 * seconds of CPU time. The first call of a run creates it.
 */
export async function embeddedDatabase(
  t: Test,
  directory = join(temporaryDirectory(t), 'data'),
): Promise<string> {
  const template = String(process.env.TEST_EMBEDDED)
  if (!existsSync(template)) {
    const { code, stderr } = await cliProcess(t, ['migrate'], { DATA_DIR: template })
    if (code !== 0) throw new Error(stderr)
  }
  cpSync(template, directory, { recursive: true })
  return directory
}

export function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'kener-test-'))
  t.teardown(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

export async function listening({ shows }: Running): Promise<string> {
  const [, origin = ''] = await shows(/listening at (http:\/\/[^"]+)/)
  return origin
}
