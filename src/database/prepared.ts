import { hash } from 'node:crypto'
import { CompiledQuery, type Kysely, type RawBuilder } from 'kysely'
import pg from 'pg'
import type { Tables } from './schema.ts'

const names = new Map<string, string>()

/**
 * A connection that prepares each statement with parameters on its first use, and from then on only executes it:
 * planning the statement at the door takes longer than running it. The texts are few, since lists go in as arrays.
 *
 * A connection that cannot be trusted any more is cut, so that the pool opens another: one whose answer did not come
 * (it would be taken for the answer to the next query), and one whose plans a newer release's migration has outdated.
 */
export class PreparedStatementClient extends pg.Client {
  /** For the pool: what ails one connection may well ail others that were opened before. */
  onBroken: () => void = () => undefined

  // pg's query has a dozen overloads; Kysely calls the one that answers with a promise.
  override query(text: unknown, values?: unknown, ...rest: unknown[]): never {
    const query = super.query.bind(this) as (...args: unknown[]) => unknown
    const prepared = typeof text === 'string' && Array.isArray(values) && values.length > 0
    const result = prepared
      ? query({ name: statementName(text), text, values }, ...rest)
      : query(text, values, ...rest)
    if (!(result instanceof Promise)) return result as never
    return result.catch((error: unknown) => {
      if (isConnectionBroken(error)) {
        this.destroySocket()
        this.onBroken()
      }
      throw error
    }) as never
  }

  /** Without a farewell, which nobody might hear. */
  destroySocket(): void {
    this.connection.stream.destroy()
  }
}

/** pg says the former in words alone. The code of the latter is shared, so its words count too. */
function isConnectionBroken(error: unknown): boolean {
  return error instanceof Error && (error.message === 'Query read timeout' || isOutdatedPlan(error))
}

export function isOutdatedPlan(error: Error): boolean {
  return 'code' in error && error.code === '0A000' && error.message.startsWith('cached plan must not change')
}

/** From the text alone: a pooler such as PgBouncer may lend one server connection to several of ours. */
function statementName(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = `kener_${hash('sha256', text).slice(0, 32)}`
  names.set(text, name)
  return name
}

/**
 * A statement that is written out once, where Kysely does so for each run: with a long one that takes longer than to
 * send it and to read its answer. Its parameters stand in it as $1, $2 and so on.
 */
export function precompiled<Row>(statement: RawBuilder<Row>) {
  let text: string | undefined
  return async (db: Kysely<Tables>, parameters: unknown[]): Promise<Row[]> => {
    text ??= statement.compile(db).sql
    const { rows } = await db.executeQuery<Row>(CompiledQuery.raw(text, parameters))
    return rows
  }
}
