import { spawnSync } from 'node:child_process'
import { cpSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import t from 'tap'
import { openDatabase } from '../../src/database/open.ts'
import { newKey } from '../helper.ts'
import { startPostgres } from '../postgres.ts'
import { embeddedDatabase, listening, start, temporaryDirectory } from '../process.ts'

const found = spawnSync('pg_config', ['--bindir'], { encoding: 'utf8' })
const bin = found.status === 0 ? found.stdout.trim() : ''
const hasTools = ['initdb', 'postgres', 'pg_dump', 'pg_restore'].every((name) => existsSync(join(bin, name)))
const authorization = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })

await t.test(
  'a restored dump has the same keys and monitors, and empty counters',
  { skip: !hasTools && 'requires the tools of a PostgreSQL installation' },
  async (t) => {
    const postgres = await startPostgres([], bin)
    t.teardown(postgres.stop)
    const file = join(temporaryDirectory(t), 'kener.dump')
    const urlOf = (name: string) => new URL(`/${name}`, postgres.url).href
    const [before, after] = [urlOf('before'), urlOf('after')]
    await onServer(postgres.url, 'create database before')
    await onServer(postgres.url, 'create database after')

    const { db, close } = await openDatabase({ databaseUrl: before, databasePoolMax: 1, dataDir: '' })
    const [good, revoked] = [await newKey({ db }, { rateLimit: 3 }), await newKey({ db })]
    await db.updateTable('api_keys').set({ revoked_at: new Date() }).where('id', '=', revoked.id).execute()
    await close()
    const first = start(t, 'server', [], { DATABASE_URL: before, PORT: '0' })
    const origin = await listening(first)
    const reply = await fetch(`${origin}/api/monitors/web`, {
      method: 'PUT',
      headers: { ...authorization(good.token).headers, 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Web', default_status: 'UP' }),
    })
    t.equal(reply.status, 201)
    run('pg_dump', ['--format=custom', '--no-unlogged-table-data', `--file=${file}`, before])
    first.child.kill('SIGTERM')
    await first.ended

    run('pg_restore', ['--exit-on-error', '--no-owner', `--dbname=${after}`, file])
    t.same(await onServer(after, 'select * from rate_counters'), [])
    const second = start(t, 'server', [], { DATABASE_URL: after, PORT: '0' })
    const restored = await listening(second)
    const monitor = await fetch(`${restored}/api/monitors/web`, authorization(good.token))
    t.equal(monitor.status, 200)
    t.match(await monitor.json(), { data: { name: 'Web', status: 'UP' } })
    const rejected = await fetch(`${restored}/api/me`, authorization(revoked.token))
    t.match(await rejected.json(), { error: { code: 'KEY_REVOKED' } })
  },
)

await t.test('a copy of the embedded database, made while it is stopped, has the same key', async (t) => {
  const [from, to] = [await embeddedDatabase(t), join(temporaryDirectory(t), 'copy')]
  const first = start(t, 'server', [], { DATA_DIR: from, PORT: '0' })
  const [key] = await first.shows(/kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}/)
  first.child.kill('SIGTERM')
  t.equal((await first.ended).code, 0)
  cpSync(from, to, { recursive: true })
  const second = start(t, 'server', [], { DATA_DIR: to, PORT: '0' })
  const reply = await fetch(`${await listening(second)}/api/me`, authorization(key))
  t.equal(reply.status, 200)
  t.match(await reply.json(), { data: { key_name: 'first-admin' } })
  t.notMatch(second.output.stdout, /Your first API key/, 'no second first key is created')
})

function run(tool: string, args: string[]): void {
  const { status, stderr } = spawnSync(join(bin, tool), args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${tool}: ${stderr}`)
}

async function onServer(connectionString: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  const { rows } = await client.query(statement)
  await client.end()
  return rows as unknown[]
}
