import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { migrations, type SchemaMigration } from '../migrations/index.ts'
import { compareSchema, migrate } from '../src/database/migrate.ts'
import { openDatabase } from '../src/database/open.ts'
import { createKysely, openPool } from '../src/database/pool.ts'
import type { Tables } from '../src/database/schema.ts'
import { createDatabase, isErrorReply, newKey, startReplica, waitUntil } from './helper.ts'

const open = (databaseUrl: string, onProgress?: (message: string) => void) =>
  openDatabase({ databaseUrl, databasePoolMax: 2, dataDir: '' }, { onProgress })

/** Connects without the service, until the test ends. */
async function connect(t: Test, connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** Opens a connection for `migrate`, without the service. */
function connectToMigrate(t: Test, connectionString: string): Kysely<Tables> {
  const pool = openPool({ connectionString, max: 1 }, {})
  t.teardown(() => pool.end())
  return createKysely(pool, {})
}

const someMigration = '2026-11-26-report-times'

/** Reverts one migration, so that it is pending. */
async function revert<Tables>(db: Kysely<Tables>): Promise<void> {
  const migration = migrations[someMigration]
  if (migration && 'up' in migration) await migration.down?.(db)
  await sql`delete from kener_api_migrations where name = ${someMigration}`.execute(db)
}

function withOptions(url: string, options: string): string {
  return `${url}?options=${encodeURIComponent(options)}`
}

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
  t.same(applied.sort(), Object.keys(migrations), 'each migration is applied once')
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

await t.test(
  'a migration scans no existing table, and takes a lock that blocks writes on one only',
  async (t) => {
    const url = await createDatabase(t, { empty: true })
    const db = connectToMigrate(t, url)
    /** Runs `step` of a migration in its transaction, and checks what it has scanned and locked. */
    const check = async <Result>(name: string, trx: Kysely<Tables>, step: () => Promise<Result>) => {
      const countScans = async () => {
        const { rows } = await sql<{ relname: string; scans: string }>`
          select relname, seq_scan as scans from pg_stat_xact_user_tables`.execute(trx)
        return new Map(rows.map(({ relname, scans }) => [relname, Number(scans)]))
      }
      const before = await countScans()
      const existing = [...before.keys()]
      const result = await step()
      const after = await countScans()
      const scanned = existing.filter((table) => (after.get(table) ?? 0) > (before.get(table) ?? 0))
      // A foreign key to a table takes ShareRowExclusiveLock on it, for an instant.
      const { rows: locked } = await sql<{ relname: string }>`
        select distinct relname from pg_locks join pg_class on pg_class.oid = relation
        where pid = pg_backend_pid() and relname = any(${existing}::text[])
          and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`.execute(
        trx,
      )
      t.same(scanned, [], `${name}: scanned tables`)
      t.ok(locked.length <= 1, `${name}: locked tables: ${locked.map(({ relname }) => relname).join(', ')}`)
      return result
    }
    const checked = Object.entries(migrations).map(([name, migration]): [string, SchemaMigration] => {
      if ('up' in migration) {
        return [name, { up: (trx: Kysely<Tables>) => check(name, trx, () => migration.up(trx)) }]
      }
      if (!('fill' in migration)) return [name, migration]
      const fill = async (trx: Kysely<Tables>, after: number) => {
        // The tables are empty, which a scan would suit.
        await sql`set local enable_seqscan = off`.execute(trx)
        const last = await check(name, trx, () => migration.fill(trx, after))
        await sql`set local enable_seqscan = on`.execute(trx)
        return last
      }
      return [name, { fill }]
    })
    t.same(await migrate(db, undefined, Object.fromEntries(checked)), Object.keys(migrations))
  },
)

await t.test('down reverts up', async (t) => {
  const url = await createDatabase(t)
  const { db, close } = await open(url)
  for (const migration of Object.values(migrations).reverse()) {
    if ('up' in migration) await migration.down?.(db)
  }
  const { rows } = await sql<{ tablename: string }>`
    select tablename from pg_tables where schemaname = 'public' and tablename <> 'kener_api_migrations'`.execute(
    db,
  )
  t.same(rows, [])
  await close()
})

await t.test('readiness is 503 if the database is not migrated', async (t) => {
  const replica = await startReplica(t)
  t.same((await replica.call(null, 'GET /readyz')).json, { success: true, data: { status: 'ok' } })
  await replica.db.deleteFrom('kener_api_migrations' as never).execute()
  isErrorReply(t, await replica.call(null, 'GET /readyz'), 503, 'SERVICE_UNAVAILABLE', 'not migrated')
  await replica.db.schema.dropTable('kener_api_migrations').execute()
  const reply = await replica.call(null, 'GET /readyz')
  isErrorReply(t, reply, 503, 'SERVICE_UNAVAILABLE', 'without the table of migrations')
  t.equal(reply.headers['retry-after'], '1')
  t.equal((await replica.call(null, 'GET /healthz')).statusCode, 200, 'the process is healthy')
})

await t.test('a release starts on a database that a newer one has migrated', async (t) => {
  const url = await createDatabase(t)
  const first = await open(url)
  await sql`insert into kener_api_migrations (name) values ('2999-01-01-later')`.execute(first.db)
  await first.close()
  const second = await open(url)
  t.same(second.applied, [])
  await second.close()
})

await t.test('a release does not start on a schema that requires a newer one', async (t) => {
  const url = await createDatabase(t)
  const { db, close } = await open(url)
  const nothing = { up: () => Promise.resolve() }
  const next = { ...migrations, '2999-01-01-adds': nothing }
  const last = { ...next, '2999-01-02-removes': { ...nothing, requires: '2999-01-01-adds' } }
  t.same(await migrate(db, undefined, last), ['2999-01-01-adds', '2999-01-02-removes'])
  await t.rejects(open(url), { message: /^[^\n]*2999-01-02-removes[^\n]*$/ })
  t.same(await migrate(db, undefined, next), [], 'the release before can still run')
  t.same(await migrate(db, undefined, last), [])
  await close()
})

await t.test('a prepared statement that a migration invalidates causes one 503', async (t) => {
  const replica = await startReplica(t, { config: { databasePoolMax: 1 } })
  const { token } = await newKey(replica)
  await replica.call(token, 'PUT /api/monitors/one', { name: 'One' })
  // Several minutes, because a report about one does not read the column.
  const points = [1, 2].map((minutes) => ({
    status: 'UP',
    timestamp: new Date(Date.now() - minutes * 60_000).toISOString(),
  }))
  const report = async () => (await replica.call(token, 'POST /api/monitors/one/data', { points })).statusCode
  t.equal(await report(), 200)
  await sql`alter table monitors alter column default_status type varchar(500)`.execute(replica.db)
  const statuses: number[] = []
  for (let tries = 0; tries < 4; tries++) statuses.push(await report())
  t.ok(
    statuses.every((status) => status === 200 || status === 503),
    String(statuses),
  )
  t.equal(statuses[0], 503, 'the statement was invalid')
  t.equal(statuses.at(-1), 200, 'it is prepared again')
})

await t.test('a migration that waits for a lock does not block the requests of other replicas', async (t) => {
  const url = await createDatabase(t)
  const before = await open(url)
  await revert(before.db)
  const dump = await connect(t, url)
  await dump.query('begin; lock table last_reports in access share mode')
  const messages: string[] = []
  const starting = open(url, (message) => messages.push(message))
  await waitUntil(() => messages.some((message) => message.includes('trying again')))
  t.same(await before.db.selectFrom('last_reports').select('minute').execute(), [])
  t.equal(messages[0], 'Applying the migrations of the database')
  await dump.query('commit')
  const after = await starting
  t.same(after.applied, [someMigration])
  await Promise.all([before.close(), after.close()])
})

await t.test('an index is built while requests write, and again if the build was interrupted', async (t) => {
  const url = await createDatabase(t)
  const [dump, writer] = [await connect(t, url), await connect(t, url)]
  const name = '2999-01-01-index'
  const known = { ...migrations, [name]: { indexes: { monitors_name: 'monitors (name)' } } }
  const start = () => {
    const messages: string[] = []
    return { messages, done: migrate(connectToMigrate(t, url), (text) => messages.push(text), known) }
  }
  const isValid = async () => {
    const { rows } = await writer.query<{ indisvalid: boolean }>(
      `select indisvalid from pg_index where indexrelid = 'monitors_name'::regclass`,
    )
    return rows[0]?.indisvalid
  }
  const waits = `from pg_stat_activity where datname = current_database() and wait_event = 'virtualxid'`
  const isWaiting = async () => (await writer.query(`select ${waits}`)).rows.length > 0

  await dump.query('begin isolation level repeatable read; select from monitors')
  const interrupted = start()
  await Promise.all([
    t.rejects(interrupted.done, { code: '57P01' }),
    waitUntil(isWaiting).then(() => writer.query(`select pg_terminate_backend(pid) ${waits}`)),
  ])
  t.equal(await isValid(), false, 'the first build was interrupted')

  const builder = start()
  await waitUntil(isWaiting)
  const other = start()
  await waitUntil(() => other.messages.some((text) => text.includes('another process')))
  await writer.query(`
    set lock_timeout = '200ms';
    insert into monitors (tag, name, enabled, hidden, default_status, degraded_counts_as_down)
      values ('one', 'One', true, false, 'UP', false);
    update monitors set name = 'Uno'; delete from monitors`)
  await waitUntil(() => builder.messages.some((text) => text.includes(name)))
  await dump.query('commit')
  t.same(await Promise.all([builder.done, other.done]), [[name], []])
  t.equal(await isValid(), true)
})

await t.test('rows are filled in several transactions, which wait for locked rows', async (t) => {
  const url = await createDatabase(t)
  const [{ db, close }, writer] = [await open(url), await connect(t, url)]
  await writer.query(`
    delete from kener_api_migrations where name in ('2026-11-25-kener-comment-times-fill', '2026-11-26-key-successors');
    insert into api_keys (id, name, permissions, secret_hash, rotated_from)
      select 'key' || number, 'Key', '{admin}', '', case when number in (2, 3000) then 'key1' end
      from generate_series(1, 4500) as number order by number;
    insert into incidents (title, state, started_at) values ('Outage', 'RESOLVED', now());
    insert into incident_comments (incident_id, comment, state, commented_at, created_at, updated_at)
      select 1, '', 'RESOLVED', now(), '2026-01-01', case number when 4400 then '2026-02-02'::timestamptz else '-infinity' end
      from generate_series(1, 4500) as number order by number`)
  await writer.query(`begin; select from api_keys where id = 'key1' for update`)
  const messages: string[] = []
  const filling = migrate(db, (text) => messages.push(text))
  await waitUntil(() => messages.some((text) => text.includes('trying again')))
  await writer.query('commit')
  t.same(await filling, ['2026-11-25-kener-comment-times-fill', '2026-11-26-key-successors'])

  const { rows: keys } = await writer.query(
    'select id, rotated_to from api_keys where rotated_to is not null',
  )
  t.same(keys, [{ id: 'key1', rotated_to: 'key3000' }], 'the newest successor')
  const { rows: comments } = await writer.query(`
    select updated_at::text, count(*)::integer from incident_comments group by updated_at order by updated_at`)
  t.same(comments, [
    { updated_at: '2026-01-01 00:00:00+00', count: 4499 },
    { updated_at: '2026-02-02 00:00:00+00', count: 1 },
  ])
  await close()
})

await t.test('an owner without further rights can start, whatever timeouts its role has', async (t) => {
  const role = `kener_test_${randomUUID().replaceAll('-', '')}`
  const url = await createDatabase(t, { empty: true })
  const admin = await connect(t, url)
  await admin.query(`create role ${role} login password 'swordfish'`)
  t.teardown(async () => {
    await admin.query(`reassign owned by ${role} to current_user; drop role ${role}`)
  })
  await admin.query(`alter database ${new URL(url).pathname.slice(1)} owner to ${role}`)
  await admin.query(`
    alter role ${role} set statement_timeout = '500ms';
    alter role ${role} set lock_timeout = '400ms';
    alter role ${role} set default_transaction_isolation = 'serializable'`)
  // The build of an index waits for it.
  const dump = await connect(t, url)
  await dump.query('begin isolation level repeatable read; select')
  const own = new URL(url)
  own.username = role
  own.password = 'swordfish'
  const starting = open(own.href)
  const waitsLonger = `
    select from pg_stat_activity where datname = current_database() and wait_event = 'virtualxid'
    and clock_timestamp() - query_start > '600ms'`
  await Promise.race([starting, waitUntil(async () => (await admin.query(waitsLonger)).rows.length > 0)])
  await dump.query('commit')
  const { applied, close } = await starting
  t.same(applied, Object.keys(migrations))
  await close()
})

await t.test("another application's tables of Kysely are neither read nor changed", async (t) => {
  const url = await createDatabase(t, { empty: true })
  const admin = await connect(t, url)
  await admin.query(`
    create table kysely_migration (name varchar(255) primary key, timestamp varchar(255) not null);
    create table kysely_migration_lock (id varchar(255) primary key, is_locked integer not null default 0);
    insert into kysely_migration values ('0001-theirs', '2026'), ('${someMigration}', '2026')`)
  const { applied, close } = await open(url)
  t.same(applied, Object.keys(migrations))
  const { rows } = await admin.query('select name from kysely_migration order by name')
  t.same(rows, [{ name: '0001-theirs' }, { name: someMigration }])
  await close()
})

await t.test('the records of an earlier release are adopted, and stay for it', async (t) => {
  const url = await createDatabase(t)
  const admin = await connect(t, url)
  const { db, close } = await open(url)
  await revert(db)
  await admin.query(`
    create table kysely_migration (name varchar(255) primary key, timestamp varchar(255) not null);
    insert into kysely_migration select name, '2026' from kener_api_migrations;
    drop table kener_api_migrations`)
  t.same(await compareSchema(db), { missing: [someMigration], newer: [], incompatible: [] })
  const replicas = await Promise.all([open(url), open(url)])
  t.same(
    replicas.flatMap(({ applied }) => applied),
    [someMigration],
  )
  const { rowCount } = await admin.query('select from kysely_migration')
  t.equal(rowCount, Object.keys(migrations).length - 1)
  await Promise.all([close(), ...replicas.map((replica) => replica.close())])
})

await t.test(
  'the tables may be in another schema, and stay in theirs when the search path changes',
  async (t) => {
    const url = await createDatabase(t, { empty: true })
    const admin = await connect(t, url)
    await admin.query('revoke all on schema public from public; create schema app')
    const first = await open(withOptions(url, '-csearch_path=app'))
    t.same(first.applied, Object.keys(migrations))
    await first.close()
    const { rows } = await admin.query(`
    select distinct schemaname from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`)
    t.same(rows, [{ schemaname: 'app' }])

    await admin.query('create schema theirs; create table theirs.monitors (x text)')
    const second = await open(withOptions(url, '-csearch_path=theirs,app'))
    t.same(second.applied, [])
    t.same(await second.db.selectFrom('monitors').select('tag').execute(), [])
    await second.close()

    await t.rejects(open(withOptions(url, '-csearch_path=absent')), {
      message: /^[^\n]*DATABASE_URL[^\n]*schema[^\n]*$/,
    })
  },
)
