import { type RawBuilder, sql } from 'kysely'

type Sql = RawBuilder<unknown>

/**
 * SQL for JSON texts, so that lists are neither parsed nor serialized here. Concatenating them takes PostgreSQL 75 % of the
 * time of row_to_json, and 80 % of that of to_json for each value.
 *
 * The text of a value is never null, because a null would make the text of its whole object null.
 */

export function jsonObject(fields: Record<string, Sql>): Sql {
  const members = Object.entries(fields).map(
    ([name, value], index) => sql`${sql.lit(`${index === 0 ? '{' : ','}"${name}":`)} || ${value}`,
  )
  return sql`(${sql.join(members, sql` || `)} || '}')`
}

export function jsonString(text: Sql): Sql {
  return sql`coalesce(to_json(${text})::text, 'null')`
}

/** Takes a text that is not null and needs no escaping, such as a tag or a status. */
export function jsonWord(text: Sql): Sql {
  return sql`('"' || ${text} || '"')`
}

/** Takes a number or a boolean. */
export function jsonScalar(value: Sql): Sql {
  return sql`coalesce(${value}::text, 'null')`
}

/** Writes a time in the form of the API: UTC, cut to whole seconds. */
export function jsonTime(time: Sql): Sql {
  return sql`coalesce(left(to_json(${time})::text, ${sql.lit('"2026-01-01T00:00:00'.length)}) || 'Z"', 'null')`
}

/** Aggregates the texts of rows as lines. JSON texts contain no line break. Null without rows. */
export function jsonLines(text: Sql, order: Sql): Sql {
  return sql`string_agg(${text}, E'\\n' order by ${order})`
}

/** Splits the result of jsonLines. */
export function parseLines(lines: string | null): string[] {
  return lines === null ? [] : lines.split('\n')
}
