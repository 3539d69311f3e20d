import { hash } from 'node:crypto'
import { CompiledQuery, type Kysely, type RawBuilder } from 'kysely'
import pg from 'pg'
import type { Tables } from './schema.ts'

const names = new Map<string, string>()

/**
 * Prepares each statement with parameters once per connection, because planning the statement of authentication takes
 * longer than executing it. The number of distinct statements is small, because lists are passed as arrays.
 *
 * Destroys its socket, so that the pool opens another connection, after a query timeout (the late result would be taken
 * for that of the next query), and when a migration of a newer release has invalidated its plans.
 */
export class PreparedStatementClient extends pg.Client {
  /** Called after the socket was destroyed: other open connections are probably broken too. */
  onBroken: () => void = () => undefined

  // pg's query has a dozen overloads. Kysely uses the one that returns a promise.
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

  /** Destroys the socket without sending Terminate, because the peer may be gone. */
  destroySocket(): void {
    this.connection.stream.destroy()
  }
}

/** pg's timeout has no code. The SQLSTATE of an outdated plan has other meanings too, so that its message is checked. */
function isConnectionBroken(error: unknown): boolean {
  return error instanceof Error && (error.message === 'Query read timeout' || isOutdatedPlan(error))
}

export function isOutdatedPlan(error: Error): boolean {
  return 'code' in error && error.code === '0A000' && error.message.startsWith('cached plan must not change')
}

/** Depends only on the text, because a pooler such as PgBouncer may share a server connection among several of ours. */
function statementName(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = `kener_${hash('sha256', text).slice(0, 32)}`
  names.set(text, name)
  return name
}

/**
 * Compiles a statement once. Kysely compiles at every execution, which for a long statement takes longer than sending it
 * and reading the result. The statement contains its parameters as $1, $2 and so on.
 */
export function precompiled<Row>(statement: RawBuilder<Row>) {
  let text: string | undefined
  return async (db: Kysely<Tables>, parameters: unknown[]): Promise<Row[]> => {
    text ??= statement.compile(db).sql
    const { rows } = await db.executeQuery<Row>(CompiledQuery.raw(text, parameters))
    return rows
  }
}
