import { type Kysely, sql } from 'kysely'
import type { Tables } from './schema.ts'

/** By the database's clock, which all replicas share. */
const thisMinute = sql<number>`floor(extract(epoch from now()) / 60)::integer`

/** Adds requests to the current minute. */
export async function addTraffic(db: Kysely<Tables>, requests: number): Promise<void> {
  await sql`
    insert into traffic (minute, requests) values (${thisMinute}, ${requests})
    on conflict (minute) do update set requests = traffic.requests + excluded.requests`.execute(db)
}

/** Returns the number of requests in each of the last 60 minutes. The last one is the current minute. */
export async function readTraffic(db: Kysely<Tables>): Promise<number[]> {
  const { rows } = await sql<{ requests: number }>`
    select coalesce(requests, 0) as requests
    from generate_series(${thisMinute} - 59, ${thisMinute}) as minute left join traffic using (minute)
    order by minute`.execute(db)
  return rows.map(({ requests }) => requests)
}

export async function removeOldTraffic(db: Kysely<Tables>): Promise<void> {
  await sql`
    delete from traffic where minute in (
      select minute from traffic where minute < ${thisMinute} - 59 for update skip locked
    )`.execute(db)
}
