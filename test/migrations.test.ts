import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import t from 'tap'
import { migrations } from '../migrations/index.ts'
import { openDatabase } from '../src/database/open.ts'
import { createDatabase, isErrorReply, newKey, startReplica } from './helper.ts'

const open = (databaseUrl: string) => openDatabase({ databaseUrl, databasePoolMax: 2, dataDir: '' })

await t.test('the map contains all files of the folder, sorted by date', async (t) => {
  const folder = join(import.meta.dirname, '../../migrations')
  const files = readdirSync(folder)
    .filter((name) => name !== 'index.ts')
    .map((name) => name.replace(/\.ts$/, ''))
  t.same(Object.keys(migrations), files.sort())
  for (const name of files) t.match(name, /^\d{4}-\d{2}-\d{2}-[a-z-]+$/)
})

await t.test('all migrations are applied to an empty database, and none at a second start', async (t) => {
  const url = await createDatabase(t, { empty: true })
  const first = await open(url)
  t.same(first.applied, Object.keys(migrations))
  await first.close()
  const second = await open(url)
  t.same(second.applied, [])
  await second.close()
})

await t.test('several replicas can start at the same time on an empty database', async (t) => {
  const url = await createDatabase(t, { empty: true })
  const replicas = await Promise.all(Array.from({ length: 6 }, () => open(url)))
  const applied = replicas.flatMap((replica) => replica.applied)
  t.same(applied, Object.keys(migrations), 'each migration is applied once')
  await Promise.all(replicas.map((replica) => replica.close()))
})

await t.test('no check of a table has a generated name', async (t) => {
  const { db, close } = await open(await createDatabase(t))
  const { rows } = await sql`
    select conname from pg_constraint
    where contype = 'c' and connamespace = 'public'::regnamespace and conname ~ '_check[0-9]*$'`.execute(db)
  t.same(rows, [])
  await close()
})

await t.test('down reverts up', async (t) => {
  const url = await createDatabase(t)
  const { db, close } = await open(url)
  for (const migration of Object.values(migrations).reverse()) await migration.down?.(db)
  const { rows } = await sql<{ tablename: string }>`
    select tablename from pg_tables where schemaname = 'public' and tablename not like 'kysely%'`.execute(db)
  t.same(rows, [])
  await close()
})

await t.test('readiness is 503 if the database is not migrated', async (t) => {
  const replica = await startReplica(t)
  t.same((await replica.call(null, 'GET /readyz')).json, { success: true, data: { status: 'ok' } })
  await replica.db.deleteFrom('kysely_migration' as never).execute()
  isErrorReply(t, await replica.call(null, 'GET /readyz'), 503, 'SERVICE_UNAVAILABLE', 'not migrated')
  await replica.db.schema.dropTable('kysely_migration').execute()
  const reply = await replica.call(null, 'GET /readyz')
  isErrorReply(t, reply, 503, 'SERVICE_UNAVAILABLE', 'without the table of migrations')
  t.equal(reply.headers['retry-after'], '1')
  t.equal((await replica.call(null, 'GET /healthz')).statusCode, 200, 'the process is healthy')
})

await t.test('a release starts on a database that a newer one has migrated', async (t) => {
  const url = await createDatabase(t)
  const first = await open(url)
  await sql`insert into kysely_migration (name, timestamp) values ('2999-01-01-later', '2999')`.execute(
    first.db,
  )
  await first.close()
  const second = await open(url)
  t.same(second.applied, [])
  await second.close()
})

await t.test('a prepared statement that a migration invalidates causes one 503', async (t) => {
  const replica = await startReplica(t, { config: { databasePoolMax: 1 } })
  const { token } = await newKey(replica)
  t.equal((await replica.call(token, 'GET /api/monitors')).statusCode, 200)
  await sql`alter table monitors alter column name type varchar(500)`.execute(replica.db)
  const statuses: number[] = []
  for (let tries = 0; tries < 4; tries++)
    statuses.push((await replica.call(token, 'GET /api/monitors')).statusCode)
  t.ok(
    statuses.every((status) => status === 200 || status === 503),
    String(statuses),
  )
  t.equal(statuses[0], 503, 'the statement was invalid')
  t.equal(statuses.at(-1), 200, 'it is prepared again')
})
