import { type Kysely, sql } from 'kysely'

/** The previous release ignores the header Idempotency-Key, and does not use the table. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table idempotency_records (
      id           bytea primary key,
      fingerprint  bytea not null,
      monitors     text[],
      status       smallint not null,
      etag         text,
      body         text,
      conflict     text,
      expires_at   timestamptz not null default now() + interval '24 hours',
      constraint idempotency_records_has_one_response check ((body is null) <> (conflict is null))
    )`.execute(db)
  await sql`create index idempotency_records_expires_at on idempotency_records (expires_at)`.execute(db)
  const comments = {
    id: 'the SHA-256 of the calling key, the method, the path and the Idempotency-Key',
    fingerprint: 'the SHA-256 of the query and the body',
    monitors: 'the monitors that the calling key could use; null: all',
    conflict: 'the message of the error that repeated requests get instead of a body that is not stored',
  }
  for (const [column, comment] of Object.entries(comments)) {
    await sql`comment on column idempotency_records.${sql.id(column)} is ${sql.lit(comment)}`.execute(db)
  }
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table idempotency_records`.execute(db)
}
