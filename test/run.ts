import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { openDatabase } from '../src/database/open.ts'
import { startPostgres } from './postgres.ts'

/**
 * Runs the tests against one PostgreSQL, the one at TEST_DATABASE_URL or one of their own, with a migrated database in
 * it that each test clones. The first argument is the folder of the tests, from here; the others go to tap: names of
 * compiled test files, or its options.
 */
const [folder = '.', ...args] = process.argv.slice(2)
const given = process.env.TEST_DATABASE_URL
const server = given ? { url: given, stop: () => Promise.resolve() } : await startPostgres()
const template = `kener_template_${String(process.pid)}`
try {
  await onServer(`create database ${template}`)
  const url = new URL(server.url)
  url.pathname = `/${template}`
  const database = await openDatabase({ databaseUrl: url.href, databasePoolMax: 1, dataDir: '' })
  await database.close()
  process.exitCode = await runTap(join(import.meta.dirname, folder))
} finally {
  await onServer(`drop database if exists ${template}`)
  await server.stop()
}

async function onServer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  await client.query(statement)
  await client.end()
}

async function runTap(tests: string): Promise<number> {
  const tapBin = join(import.meta.dirname, '../../node_modules/.bin/tap')
  const files = args.some((arg) => arg.includes('.test.js'))
    ? []
    : readdirSync(tests)
        .filter((name) => name.endsWith('.test.js'))
        .map((name) => join(tests, name))
  const record = join(mkdtempSync(join(tmpdir(), 'kener-tap-')), 'record')
  const tap = spawn(process.execPath, [tapBin, 'run', `--output-file=${record}`, ...args, ...files], {
    stdio: 'inherit',
    env: { ...process.env, TEST_DATABASE_URL: server.url, TEST_TEMPLATE: template },
  })
  const [code] = (await once(tap, 'exit')) as [number | null]
  if (code === null) return 1
  const lines = readFileSync(record, 'utf8')
  const { pass = 0, fail = 0 } = readTotals(lines)
  if (code !== 0) process.stdout.write(readFailures(lines))
  process.stdout.write(readFigures(lines))
  rmSync(dirname(record), { recursive: true })
  process.stdout.write(`${String(pass)} passed, ${String(fail)} failed\n`)
  return code
}

/** From the last lines of the TAP record, such as `# { total: 12, pass: 12 }`. */
function readTotals(record: string): { pass?: number; fail?: number } {
  const [, totals = ''] = /^# \{ (.+) \}$/m.exec(record) ?? []
  return Object.fromEntries(
    totals.split(', ').map((total) => {
      const [name = '', count] = total.split(': ')
      return [name, Number(count)]
    }),
  )
}

/** Reporters leave some failures out, such as those of a file that was killed. */
function readFailures(record: string): string {
  return [...record.matchAll(/^ *not ok .*(\n +---\n[\s\S]*?\n +\.\.\.)?\n/gm)].map(([text]) => text).join('')
}

/** What tests measured, and told by t.comment(). */
function readFigures(record: string): string {
  return [...record.matchAll(/^ +# (?!Subtest: |time=).*\n/gm)].map(([text]) => text.trimStart()).join('')
}
