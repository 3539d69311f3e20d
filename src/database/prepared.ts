import { hash } from 'node:crypto'
import pg from 'pg'

const names = new Map<string, string>()

/**
 * A connection that prepares each statement with parameters on its first use, and from then on only executes it.
 * Planning the statement at the door takes longer than running it. The texts are few: lists go in as arrays.
 */
export class PreparingClient extends pg.Client {
  // pg's query has a dozen overloads; Kysely calls this one.
  override query(text: unknown, values?: unknown, ...rest: unknown[]): never {
    const query = super.query.bind(this) as (...args: unknown[]) => never
    if (typeof text !== 'string' || !Array.isArray(values) || values.length === 0) {
      return query(text, values, ...rest)
    }
    return query({ name: nameOf(text), text, values }, ...rest)
  }
}

/** From the text alone: a pooler such as PgBouncer may lend one server connection to several of ours. */
function nameOf(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = `kener_${hash('sha256', text).slice(0, 32)}`
  names.set(text, name)
  return name
}
