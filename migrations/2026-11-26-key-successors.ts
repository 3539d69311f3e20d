import { type Kysely, sql } from 'kysely'

/**
 * Stores the successors of the keys that earlier releases rotated. They could rotate a key again while it overlapped with
 * its successor: the newest one counts.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    update api_keys set rotated_to = successor.id
    from (
      select distinct on (rotated_from) rotated_from, id from api_keys
      where rotated_from is not null order by rotated_from, seq desc
    ) as successor
    where successor.rotated_from = api_keys.id`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`update api_keys set rotated_to = null where rotated_to is not null`.execute(db)
}
