/** Rows that a measurement needs: keys, monitors, minutes. */
import { sql } from 'kysely'
import pg from 'pg'
import { openDatabase } from '../dist/src/database/open.js'
import { writeReports } from '../dist/src/reports/repository.js'
import { formatToken } from '../dist/src/keys/token.js'
import { createKey } from '../dist/src/keys/lifecycle.js'
import { createSecrets } from '../dist/src/keys/secrets.js'
import { me } from './contenders/me.js'

/** Opens and migrates a database, runs `fill` on it, and closes it. */
export async function prepare({ databaseUrl, dataDir = '' }, fill) {
  const { db, close } = await openDatabase({ databaseUrl, dataDir, databasePoolMax: 4 })
  try {
    return await fill(db, databaseUrl)
  } finally {
    await close()
  }
}

/** @returns request headers, one per key; the first key is the one in the response body of the other contenders */
export async function addKeys(db, count, permissions = me.data.permissions) {
  const context = { db, secrets: createSecrets(), log: { info() {} } }
  const attributes = { name: me.data.key_name, permissions, rate_limit: null, expires_at: null }
  const all = []
  while (all.length < count) {
    const some = Array.from({ length: Math.min(500, count - all.length) }, (_, index) =>
      createKey(context, attributes, all.length + index === 0 ? me.data.id : undefined),
    )
    all.push(...(await Promise.all(some)).map(({ token }) => ({ authorization: `Bearer ${token}` })))
  }
  await sql`update api_keys set created_at = ${me.data.created_at} where id = ${me.data.id}`.execute(db)
  return all
}

/** Inserts keys that are not used, on a separate connection without a statement timeout. */
export async function addUnusedKeys(databaseUrl, count) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query(
    `insert into api_keys (id, secret_hash, name, permissions)
     select left(md5(n::text), 16), secret_hash, 'key ' || n, permissions
     from generate_series(1, $1::integer) as n, (select secret_hash, permissions from api_keys limit 1) as one`,
    [count],
  )
  await client.query('vacuum analyze api_keys')
  await client.end()
}

/** @returns request headers with well-formed tokens of an existing key, with wrong secrets */
export function wrongSecrets(count) {
  return Array.from({ length: count }, (_, index) => ({
    authorization: `Bearer ${formatToken({ id: me.data.id, secret: String(index).padStart(43, 'x') })}`,
  }))
}

export async function addMonitors(db, from, to) {
  await sql`
    insert into monitors (tag, name, enabled, hidden, default_status, degraded_counts_as_down)
    select 'm' || lpad(n::text, 6, '0'), 'Monitor ' || n, true, false, 'NO_DATA', false
    from generate_series(${sql.lit(from)}, ${sql.lit(to)}) as n`.execute(db)
  await sql`analyze`.execute(db)
}

/** Reports 90 days of minutes. */
export async function addMinutes(db, tag) {
  const to = Math.floor(Date.now() / 60_000)
  const reports = [{ from: to - 129_600, to, status: 'UP', latency_ms: 100 }]
  await writeReports(db, [{ tag, reports }], 'wait')
}
