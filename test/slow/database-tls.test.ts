import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/database/open.ts'
import { createDatabase, waitUntil } from '../helper.ts'
import { startPostgres } from '../postgres.ts'
import { temporaryDirectory } from '../process.ts'
import { conditionTimeoutMs } from '../timeouts.ts'

/** Makes a private certificate authority, and a certificate of it for localhost. */
function makeCertificates(t: Test) {
  const directory = temporaryDirectory(t)
  chmodSync(directory, 0o755)
  const file = (name: string) => join(directory, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  for (const name of ['root', 'other']) {
    const output = ['-keyout', `${name}.key`, '-out', `${name}.pem`]
    openssl('req', '-x509', ...key, ...output, '-days', '2', '-subj', `/CN=${name}`)
  }
  openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost')
  writeFileSync(file('extensions'), 'subjectAltName=DNS:localhost')
  const authority = ['-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '2']
  openssl('x509', '-req', '-in', 'server.csr', ...authority, '-extfile', 'extensions', '-out', 'server.pem')
  // PostgreSQL runs as this user if the tests run as root.
  if (process.getuid?.() === 0) chownSync(file('server.key'), 65534, 65534)
  chmodSync(file('server.key'), 0o600)
  return {
    root: file('root.pem'),
    other: file('other.pem'),
    cert: file('server.pem'),
    key: file('server.key'),
  }
}

/** Opens the database. @returns whether the connection has TLS, or the error */
async function tryOpen(databaseUrl: string): Promise<boolean | string> {
  try {
    const { db, close } = await openDatabase({ databaseUrl, databasePoolMax: 1, dataDir: '' })
    const { ssl } = await db
      .selectFrom('pg_stat_ssl' as never)
      .select('ssl' as never)
      .where('pid' as never, '=', db.fn('pg_backend_pid', []) as never)
      .executeTakeFirstOrThrow()
    await close()
    return ssl
  } catch (error) {
    return (error as Error).message
  }
}

const certificates = makeCertificates(t)
const sockets = temporaryDirectory(t)
chmodSync(sockets, 0o777)
const tls = [`ssl_cert_file=${certificates.cert}`, `ssl_key_file=${certificates.key}`]
const secure = await startPostgres(['ssl=on', ...tls, `unix_socket_directories=${sockets}`])
t.teardown(secure.stop)
const plainUrl = await createDatabase(t)
const { port } = new URL(secure.url)
const named = `postgres://postgres@localhost:${port}/postgres`
const { root, other } = certificates

await t.test('sslmode decides whether the connection has TLS, and what is verified', async (t) => {
  const cases: [url: string, expected: boolean | RegExp][] = [
    [named, false],
    [`${named}?sslmode=disable`, false],
    [`${named}?sslmode=prefer`, true],
    [`${named}?sslmode=require`, true],
    [`${named}?sslmode=verify-full&sslrootcert=${root}`, true],
    [`${secure.url}?sslmode=verify-ca&sslrootcert=${root}`, true],
    [`${secure.url}?sslmode=require&sslrootcert=${root}`, true],
    [`${secure.url}?sslmode=verify-full&sslrootcert=${root}`, /DATABASE_URL.*altnames/],
    [`${named}?sslmode=verify-full&sslrootcert=${other}`, /DATABASE_URL.*certificate/],
    [`${named}?sslmode=verify-ca&sslrootcert=${other}`, /DATABASE_URL.*certificate/],
    [`${named}?sslmode=verify-full`, /DATABASE_URL.*Add sslrootcert/],
    [`${plainUrl}?sslmode=prefer`, false],
    [`${plainUrl}?sslmode=require`, /DATABASE_URL.*does not support SSL/],
  ]
  for (const [url, expected] of cases) {
    const result = await tryOpen(url)
    if (typeof expected === 'boolean') t.equal(result, expected, url)
    else t.match(result, expected, url)
    t.notMatch(String(result), '\n')
  }
})

await t.test('a unix socket may be given as a parameter or as the host', async (t) => {
  const encoded = encodeURIComponent(sockets)
  t.equal(
    await tryOpen(`postgresql://postgres@/postgres?host=${sockets}&port=${port}&sslmode=require`),
    false,
  )
  t.equal(await tryOpen(`postgresql://postgres@${encoded}:${port}/postgres`), false)
})

await t.test('a statement without a response is cancelled, with and without TLS', async (t) => {
  const addresses = [
    named,
    `${named}?sslmode=verify-full&sslrootcert=${root}`,
    `postgresql://postgres@/postgres?host=${sockets}&port=${port}`,
  ]
  const observer = new pg.Client({ connectionString: secure.url })
  await observer.connect()
  for (const databaseUrl of addresses) {
    const timeouts = { connectMs: conditionTimeoutMs, statementMs: 500 }
    const { db, close } = await openDatabase({ databaseUrl, databasePoolMax: 1, dataDir: '' }, { timeouts })
    await sql`set statement_timeout = 0`.execute(db)
    await t.rejects(sql`select pg_sleep(600)`.execute(db), { message: 'Query read timeout' })
    await waitUntil(async () => {
      const { rows } = await observer.query(`select from pg_stat_activity where wait_event = 'PgSleep'`)
      return rows.length === 0
    })
    await close()
  }
  await observer.end()
})
