import { sql } from 'kysely'
import t from 'tap'
import { openDatabase } from '../src/database/open.ts'
import { countKeysByView, keyOrders, keyViews, listKeysInOrder } from '../src/keys/list.ts'
import { createDatabase } from './helper.ts'

const statements: string[] = []
const { db, close } = await openDatabase(
  { databaseUrl: await createDatabase(t), databasePoolMax: 1, dataDir: '' },
  { onStatement: ({ query }) => statements.push(query.sql) },
)
t.teardown(close)

/** Names, expiries and last uses repeat. Last uses differ by microseconds. The database may not know the case of é. */
await sql`
  insert into api_keys (id, name, permissions, secret_hash, expires_at, last_used_at, revoked_at)
  select lpad(n::text, 16, '0'), case n % 2 when 0 then 'Key é' else 'kEY é' end || n % 10, '{}', '',
    case when n % 3 > 0 then now() + (n % 40 - 10) * interval '1 day' end,
    case when n % 4 > 0 then '2026-01-01'::timestamptz + n % 7 * interval '1 microsecond' end,
    case when n % 5 = 0 then now() end
  from generate_series(1, 95) as n`.execute(db)

type Row = { id: string; seq: string; name: string; expires_at: Date | null; used: string | null }
const { rows } = await sql<Row>`
  select id, seq, name, expires_at, last_used_at::text as used from api_keys`.execute(db)

const values: Record<(typeof keyOrders)[number], (row: Row) => string | number> = {
  name: ({ name }) => Buffer.from(name.toLowerCase()).toString('hex'),
  created: ({ seq }) => Number(seq),
  last_used: ({ used }) => used ?? '',
  expires: ({ expires_at }) => expires_at?.getTime() ?? Infinity,
}

await t.test('the pages of each order contain all keys once, forwards and backwards', async (t) => {
  for (const order of keyOrders) {
    const value = values[order]
    const ascending = rows
      .toSorted((a, b) =>
        value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : Number(a.seq) - Number(b.seq),
      )
      .map(({ id }) => id)
    for (const isDescending of [false, true]) {
      const read = (cursor: string | null) =>
        listKeysInOrder(db, { view: 'all', order, isDescending, cursor: cursor ?? undefined, limit: 20 })
      const pages = [await read(null)]
      for (let next = pages[0]?.next; next; next = pages.at(-1)?.next) pages.push(await read(next))
      const expected = isDescending ? ascending.toReversed() : ascending
      const name = `${order}, ${isDescending ? 'descending' : 'ascending'}`
      t.same(
        pages.flatMap(({ keys }) => keys.map(({ id }) => id)),
        expected,
        name,
      )
      t.same(
        pages.map(({ start }) => start),
        [1, 21, 41, 61, 81],
        name,
      )
      for (let index = pages.length - 1; index > 0; index--) {
        const { keys, start, previous } = await read(pages[index]?.previous ?? null)
        t.same(
          [keys, start],
          [pages[index - 1]?.keys, pages[index - 1]?.start],
          `${name}, back to page ${index}`,
        )
        t.equal(previous === null, index === 1)
      }
    }
  }
})

await t.test('a cursor of another order, or one that was changed, is rejected', async (t) => {
  const read = (order: (typeof keyOrders)[number], cursor?: string) =>
    listKeysInOrder(db, { view: 'all', order, isDescending: false, cursor, limit: 20 })
  const { next } = await read('name')
  await t.rejects(read('created', next ?? ''), { code: 'INVALID_REQUEST' })
  for (const value of ['x', '2026-02-30 00:00:00+00', 'nan']) {
    const cursor = `keys/expires after:1:1:${Buffer.from(value).toString('base64url')}`
    await t.rejects(
      read('expires', Buffer.from(cursor).toString('base64url')),
      { code: 'INVALID_REQUEST' },
      value,
    )
  }
})

await t.test('the counts are those of the lists, with and without a text, in one statement', async (t) => {
  for (const text of [undefined, 'EY é3', 'nothing']) {
    statements.length = 0
    const counts = await countKeysByView(db, text)
    t.equal(statements.length, 1)
    for (const view of keyViews) {
      const { keys } = await listKeysInOrder(db, {
        view,
        text,
        order: 'name',
        isDescending: false,
        limit: 100,
      })
      t.equal(counts[view], keys.length, `${view}, ${text}`)
    }
  }
})

await t.test('the work for a page by creation is bounded', async (t) => {
  await sql`
    insert into api_keys (id, name, permissions, secret_hash, expires_at, revoked_at)
    select 'x' || lpad(n::text, 15, '0'), 'n' || n, '{}', '', now() + (n % 1000 - 500) * interval '1 day',
      case when n % 100 = 0 then now() end
    from generate_series(1, 11000) as n`.execute(db)
  await sql`analyze api_keys`.execute(db)
  const rowsRead = async (list: () => Promise<unknown>) => {
    const reads = async () => {
      await sql`select pg_stat_force_next_flush()`.execute(db)
      const { rows } = await sql<{ reads: number }>`
        select (seq_tup_read + idx_tup_fetch)::integer as reads from pg_stat_user_tables where relname = 'api_keys'
        `.execute(db)
      return rows[0]?.reads ?? 0
    }
    const before = await reads()
    await list()
    return (await reads()) - before
  }
  for (const view of ['all', 'active'] as const) {
    const read = await rowsRead(() =>
      listKeysInOrder(db, { view, order: 'created', isDescending: true, limit: 50 }),
    )
    t.ok(read < 500, `${view}: ${read} rows`)
  }
})
