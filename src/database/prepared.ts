import { hash } from 'node:crypto'
import type { Socket } from 'node:net'
import { CompiledQuery, type QueryExecutorProvider, type RawBuilder } from 'kysely'
import pg from 'pg'
import { closesConnection, isUnresponsive } from './failures.ts'

/** Longest time for asking the server to cancel a statement. */
const cancelTimeoutMs = 2_000

/** Names of the statements that are prepared, by their text. */
const names = new Map<string, string>()

/** Poolers in transaction mode may lose prepared statements: `preparesStatements` false sends all of them unnamed. */
export type ClientConfig = pg.ClientConfig & { preparesStatements?: boolean }

/**
 * Prepares the statements that `prepared` and `precompiled` name once per connection, because planning the statement of
 * authentication takes longer than executing it. Other statements are not named: their text may depend on the fields of
 * a request, and each named text takes memory of PostgreSQL until the connection is closed.
 *
 * Destroys its socket, so that the pool opens another connection, after an error that makes the connection unusable.
 */
export class PreparedStatementClient extends pg.Client {
  private readonly preparesStatements: boolean
  /** Called after the socket was destroyed because of this error. */
  onBroken: (error: unknown) => void = () => undefined

  constructor(config: ClientConfig = {}) {
    super({ ...config, pipeline: true })
    this.preparesStatements = config.preparesStatements ?? true
  }

  // pg's query has a dozen overloads. Kysely uses the one that returns a promise.
  override query(text: unknown, values?: unknown): never {
    const query = super.query.bind(this) as (...args: unknown[]) => Promise<unknown>
    const name = this.preparesStatements && typeof text === 'string' ? names.get(text) : undefined
    this.joinWrites()
    const result = name === undefined ? query(text, values) : query({ name, text, values })
    return result.catch((error: unknown) => {
      if (closesConnection(error)) {
        if (isUnresponsive(error)) this.cancelOnServer()
        this.destroySocket()
        this.onBroken(error)
      }
      throw error
    }) as never
  }

  /** Sends the statements of one turn of the event loop with one system call. The embedded database has none to save. */
  private joinWrites(): void {
    const { stream } = this.connection
    if (!('cork' in stream)) return
    stream.cork()
    process.nextTick(() => {
      stream.uncork()
    })
  }

  /** Destroys the socket without sending Terminate, because the peer may be gone. */
  destroySocket(): void {
    this.connection.stream.destroy()
  }

  /**
   * Asks the server to end what it does for this connection. A commit that waits for a synchronous standby does not notice
   * that its client is gone: without this, each request would take another connection of the server until there is a
   * standby. pg's own `cancel` supports no TLS.
   */
  private cancelOnServer(): void {
    const { host, port, ssl, processID, secretKey } = this as unknown as Session
    const connection = new pg.Connection({ ssl } as pg.ConnectionConfig) as CancelConnection
    const { stream } = connection
    connection.on('error', () => undefined)
    connection.on('connect', () => {
      if (ssl) connection.requestSsl()
      else connection.cancel(processID, secretKey)
    })
    connection.on('sslconnect', () => {
      connection.cancel(processID, secretKey)
    })
    // The server closes the connection. It may also be unreachable.
    stream.setTimeout(cancelTimeoutMs, () => stream.destroy())
    if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`)
    else connection.connect(port, host)
  }
}

/** Properties of pg's client that its types do not declare. */
type Session = { host: string; port: number; ssl: unknown; processID: number; secretKey: number }

type CancelConnection = pg.Connection & {
  stream: Socket
  connect: (port: number | string, host?: string) => void
  requestSsl: () => void
  cancel: (processID: number, secretKey: number) => void
}

/**
 * Names a statement, so that it is prepared. Only for statements whose text is the same for all requests.
 *
 * The name depends only on the text, because a pooler such as PgBouncer may share a server connection among several of
 * ours.
 */
function nameStatement(text: string): void {
  if (!names.has(text)) names.set(text, `kener_${hash('sha256', text).slice(0, 32)}`)
}

/** Prepares a statement. Its text must be the same for all requests. */
export function prepared<Row>(statement: RawBuilder<Row>): Pick<RawBuilder<Row>, 'execute'> {
  return {
    execute: (db) => {
      const query = statement.compile(db)
      nameStatement(query.sql)
      return db.getExecutor().executeQuery(query)
    },
  }
}

/**
 * Sorts the fields of a row that is inserted or updated. Kysely lists columns in the order of the fields, so that the
 * text of the statement would depend on the order in which a client sends them.
 */
export function sortFields<Row extends object>(row: Row): Row {
  return Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))) as Row
}

/**
 * Compiles a statement once, and prepares it. Kysely compiles at every execution, which for a long statement takes
 * longer than sending it and reading the result. The statement contains its parameters as $1, $2 and so on.
 */
export function precompiled<Row>(statement: RawBuilder<Row>) {
  let text: string | undefined
  return async (db: QueryExecutorProvider, parameters: unknown[]): Promise<Row[]> => {
    if (text === undefined) {
      text = statement.compile(db).sql
      nameStatement(text)
    }
    const { rows } = await db.getExecutor().executeQuery<Row>(CompiledQuery.raw(text, parameters))
    return rows
  }
}
