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
  const actor = { key: null, via: 'cli', address: null, request_id: null }
  const context = {
    db,
    actor,
    auditRetentionDays: 400,
    secrets: createSecrets(),
    log: { info() {} },
    caller: null,
    lifetimeMaxDays: null,
  }
  const attributes = { name: me.data.key_name, permissions, rate_limit: null, expires_at: null }
  const all = []
  while (all.length < count) {
    const some = Array.from({ length: Math.min(50, count - all.length) }, (_, index) =>
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

const now = () => Math.floor(Date.now() / 60_000)

export const tagOf = (number) => `m${String(number).padStart(6, '0')}`

/**
 * Adds monitors m000001 and so on, in a hundred categories, of which each has reported for two hours; every hundredth is
 * DOWN. An incident affects one to three of them, and one in 5,000 is open.
 * @param history number of monitors that have reported for 90 days, evenly distributed over the others
 */
export async function addMonitors(db, { monitors, history = 0, incidents = 0 }) {
  progress(`adding ${monitors} monitors that have reported, ${history} of them for 90 days`)
  await sql`
    insert into monitors (tag, name, category_name, enabled, hidden, default_status, degraded_counts_as_down)
    select 'm' || lpad(n::text, 6, '0'), 'Monitor ' || n, 'Category ' || n % 100, true, false, 'NO_DATA', false
    from generate_series(1, ${sql.lit(monitors)}) as n`.execute(db)
  for (let first = 1; first <= monitors; first += 200) {
    const to = now()
    const items = Array.from({ length: Math.min(200, monitors - first + 1) }, (_, index) => ({
      tag: tagOf(first + index),
      reports: [{ from: to - 120, to, status: (first + index) % 100 === 7 ? 'DOWN' : 'UP', latency_ms: 100 }],
    }))
    await writeReports(db, items, 'wait')
    // Plans for empty tables read all of a full one.
    if ((first - 1) % 2_000 === 0) await sql`analyze`.execute(db)
  }
  for (let index = 0; index < history; index++) {
    const to = now()
    const reports = [{ from: to - 129_600, to, status: 'UP', latency_ms: 100 }]
    await writeReports(db, [{ tag: tagOf(1 + Math.floor((index * monitors) / history)), reports }], 'wait')
  }
  if (incidents > 0) await addIncidents(db, { monitors, incidents })
  await sql`analyze`.execute(db)
}

async function addIncidents(db, { monitors, incidents }) {
  progress(`adding ${incidents} incidents`)
  // In steps, because a statement has a timeout.
  for (let first = 1; first <= incidents; first += 5_000) {
    await sql`
      with added as (
        insert into incidents (title, state, started_at, ended_at)
        select 'Incident ' || n, case when is_open then 'IDENTIFIED' else 'RESOLVED' end, start,
          case when not is_open then start + interval '5 minutes' end
        from generate_series(${sql.lit(first)}, ${sql.lit(Math.min(first + 4_999, incidents))}) as n,
          lateral (select n % 5000 = 0 as is_open, date_trunc('second', now()) - n * interval '10 minutes' as start) as times
        returning id
      )
      insert into incident_monitors
      select added.id, monitors.id, 'DOWN' from added cross join lateral generate_series(0, added.id % 3) as other
      join monitors on tag = 'm' || lpad((1 + (added.id * 7919 + other * 31) % ${sql.lit(monitors)})::text, 6, '0')`.execute(
      db,
    )
  }
}

/** Prints what the benchmark is doing. */
export function progress(message) {
  console.error(message)
}
