import { type Kysely, sql } from 'kysely'

/**
 * Stores the successors of the keys that earlier releases rotated. They could rotate a key again while it overlapped with
 * its successor: the newest one counts, because it is stored last.
 */
export async function fill(db: Kysely<unknown>, after: number): Promise<number | null> {
  const { rows } = await sql<{ last: string | null }>`
    with next as (
      select seq, id, rotated_from from api_keys where seq > ${after} order by seq limit 2000
    ), successors as (
      select distinct on (rotated_from) rotated_from, id from next
      where rotated_from is not null order by rotated_from, seq desc
    ), filled as (
      update api_keys set rotated_to = successors.id from successors where api_keys.id = successors.rotated_from
    )
    select max(seq) as last from next`.execute(db)
  const last = rows[0]?.last ?? null
  return last === null ? null : Number(last)
}
