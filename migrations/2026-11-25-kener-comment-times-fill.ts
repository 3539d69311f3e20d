import { type Kysely, sql } from 'kysely'

/** The previous release does not read the column. */
export async function fill(db: Kysely<unknown>, after: number): Promise<number | null> {
  const { rows } = await sql<{ last: number | null }>`
    with next as (
      select id from incident_comments where id > ${after} order by id limit 2000
    ), filled as (
      update incident_comments set updated_at = created_at
      where id in (select id from next) and updated_at = '-infinity'
    )
    select max(id) as last from next`.execute(db)
  return rows[0]?.last ?? null
}
