import { fork } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { openDatabase } from '../src/database/open.ts'
import { memoryDirectory, startPostgres } from './postgres.ts'
import { fileTimeoutMs } from './timeouts.ts'
import type { FromWorker } from './worker.ts'

/**
 * Runs test files: all of `test` or, with --slow, of `test/slow`, or those that are named ("keys", "slow/backup", or a
 * path). They share a PostgreSQL server, at TEST_DATABASE_URL or started here, and each test clones a migrated
 * database. Worker processes run one file after the other.
 */
const { values, positionals } = parseArgs({
  options: { slow: { type: 'boolean', default: false }, jobs: { type: 'string' } },
  allowPositionals: true,
})
const jobs = Number(values.jobs ?? (values.slow ? 1 : availableParallelism()))
/** Failures shown of one file: a bug in what all tests use fails thousands of assertions. */
const maxShownFailures = 5

type FileResult = { passed: number; failed: number; cpuMs: number }
type TestFile = { name: string; path: string; size: number }

const all = [...listFiles(''), ...listFiles('slow')]
const files = selectFiles()
process.exitCode = await runWithDatabase(files)

/** Lists the sources, because compiled files of renamed or deleted sources still exist. */
function listFiles(folder: string): TestFile[] {
  return readdirSync(join(import.meta.dirname, '../../test', folder))
    .filter((name) => name.endsWith('.test.ts'))
    .map((source) => {
      const path = join(import.meta.dirname, folder, source.replace(/\.ts$/, '.js'))
      return { name: join(folder, source.replace('.test.ts', '')), path, size: statSync(path).size }
    })
}

/** The largest first, so that workers finish at about the same time. */
function selectFiles(): TestFile[] {
  const selected =
    positionals.length > 0 ? positionals.map(findFile) : all.filter((file) => isSlow(file) === values.slow)
  return selected.sort((a, b) => b.size - a.size)
}

function isSlow({ name }: TestFile): boolean {
  return name.startsWith('slow/')
}

function findFile(text: string): TestFile {
  const name = text.replace(/^(\.?\/)?(dist\/)?test\//, '').replace(/\.test\.[jt]s$/, '')
  const file = all.find((file) => file.name === name) ?? all.find((file) => basename(file.name) === name)
  if (!file) throw new Error(`There is no test file ${text}`)
  return file
}

async function runWithDatabase(files: TestFile[]): Promise<number> {
  const given = process.env.TEST_DATABASE_URL
  const server = given
    ? { url: given, stop: () => Promise.resolve() }
    : await startPostgres(
        [
          'wal_level=minimal',
          'max_wal_senders=0',
          'full_page_writes=off',
          'autovacuum=off',
          'shared_buffers=16MB',
          'max_connections=200',
        ],
        undefined,
        // Long tests fill their databases.
        values.slow ? undefined : memoryDirectory(),
      )
  const template = `kener_template_${process.pid}`
  const directory = mkdtempSync(join(tmpdir(), 'kener-embedded-'))
  try {
    await onServer(server.url, `create database ${template}`)
    const [row] = await onServer(
      server.url,
      `select current_setting('server_version_num')::integer as version`,
    )
    const { version } = row as { version: number }
    const url = new URL(server.url)
    url.pathname = `/${template}`
    const database = await openDatabase({ databaseUrl: url.href, databasePoolMax: 1, dataDir: '' })
    await database.close()
    return await runFiles(files, {
      TEST_DATABASE_URL: server.url,
      TEST_TEMPLATE: template,
      TEST_EMBEDDED: join(directory, 'data'),
      // Copying files takes a third of the time of logging each block. Before version 15 it is the only strategy.
      TEST_COPY_OPTIONS: version >= 150_000 ? 'strategy file_copy' : '',
    })
  } finally {
    await onServer(server.url, `drop database if exists ${template}`)
    await server.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function onServer(url: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(statement)
    return rows
  } finally {
    await client.end()
  }
}

async function runFiles(files: TestFile[], environment: Record<string, string>): Promise<number> {
  const startedAt = performance.now()
  const queue = [...files]
  const failed: string[] = []
  let passes = 0
  let failures = 0

  async function work(): Promise<void> {
    while (queue.length > 0) {
      await runWorker(queue, environment, ({ name }, result, ms, output) => {
        passes += result.passed
        failures += result.failed
        if (result.failed > 0) failed.push(name)
        print(`${result.failed > 0 ? 'FAIL' : 'ok  '} ${describe(name, result, ms)}`)
        for (const line of output) print(`       ${line}`)
      })
    }
  }
  await Promise.all(Array.from({ length: Math.min(jobs, files.length) }, work))

  print(`${files.length} files in ${seconds(performance.now() - startedAt)}`)
  if (failed.length > 0) print(`Run the failed files again: npm test -- ${failed.join(' ')}`)
  print(`${passes} passed, ${failures} failed`)
  return failures > 0 || passes === 0 ? 1 : 0
}

type OnFile = (file: TestFile, result: FileResult, ms: number, output: string[]) => void

/** Sends files to a worker process until none is left. If the process exits before, the current file fails. */
function runWorker(queue: TestFile[], environment: Record<string, string>, onFile: OnFile): Promise<void> {
  return new Promise((resolve) => {
    const worker = fork(join(import.meta.dirname, 'worker.js'), {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // A larger young generation halves the time of garbage collection, a tenth of the CPU time.
      execArgv: [
        '--max-semi-space-size=64',
        `--import=${pathToFileURL(join(import.meta.dirname, 'without-async-hooks.js')).href}`,
      ],
      env: { ...process.env, ...environment },
    })
    let current: { file: TestFile; startedAt: number } | undefined
    let comments: string[] = []
    let output = ''

    let timer: NodeJS.Timeout | undefined
    let failuresOfFile = 0

    function next(): void {
      clearTimeout(timer)
      timer = setTimeout(() => {
        output += `Killed after ${seconds(fileTimeoutMs)}.\n`
        worker.kill('SIGKILL')
      }, fileTimeoutMs)
      const file = queue.shift()
      if (file) current = { file, startedAt: performance.now() }
      worker.send(file ? { file: file.path } : {})
    }

    function finish(result: FileResult): void {
      if (!current) return
      const { file, startedAt } = current
      const shown = result.failed > 0 ? [...comments, ...output.split('\n')] : comments
      onFile(file, result, performance.now() - startedAt, shown)
      current = undefined
      comments = []
      output = ''
      failuresOfFile = 0
    }

    worker.on('message', (message: FromWorker | { kind?: undefined }) => {
      if (message.kind === 'end') {
        if (message.passed + message.failed === 0) {
          print(`FAIL ${current?.file.name ?? ''}: no assertion ran`)
          message.failed++
        }
        finish(message)
        next()
      } else if (message.kind === 'failure') {
        failuresOfFile++
        if (failuresOfFile <= maxShownFailures) print(`FAIL ${current?.file.name ?? ''}: ${message.text}`)
        else output = `Only the first ${maxShownFailures} failures are shown.\n`
      } else if (message.kind === 'comment') {
        comments.push(message.text)
      }
    })
    for (const stream of [worker.stdout, worker.stderr]) {
      stream?.on('data', (chunk: Buffer) => (output += chunk.toString()))
    }
    worker.once('close', (code, signal) => {
      clearTimeout(timer)
      if (current) {
        output += `The process ended with ${signal ?? `exit code ${String(code)}`}.\n`
        finish({ passed: 0, failed: 1, cpuMs: 0 })
      }
      resolve()
    })
    next()
  })
}

function describe(name: string, { passed, failed, cpuMs }: FileResult, ms: number): string {
  const counts = failed > 0 ? `${passed} passed, ${failed} failed` : `${passed} passed`
  return `${name.padEnd(24)} ${seconds(ms).padStart(7)} (CPU ${seconds(cpuMs)}), ${counts}`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
