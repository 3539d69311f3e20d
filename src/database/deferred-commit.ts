import {
  type CompiledQuery,
  type ControlledTransaction,
  type DatabaseConnection,
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type Transaction,
} from 'kysely'
import { retryWhileLocked } from './locks.ts'
import type { Tables } from './schema.ts'

export type DeferredCommit = {
  /**
   * A database whose transaction stays open when it ends, so that more can be written in it. It takes a connection only
   * from then on: before, statements run on the pool; afterwards, in the open transaction.
   */
  db: Kysely<Tables>
  /** Returns the open transaction, or begins it. */
  openTransaction: () => Promise<Transaction<Tables>>
  commit: () => Promise<void>
  /** Does nothing if no transaction is open. */
  rollback: () => Promise<void>
}

/**
 * Defers the commit of one transaction. Like those of `pool`, it is run again while a lock is held, without a connection
 * in between.
 * @param onBegin runs first in the transaction, which is rolled back if it throws
 */
export function deferCommit(
  pool: Kysely<Tables>,
  maxLockWaitMs: number,
  onBegin: (trx: Transaction<Tables>) => Promise<void>,
): DeferredCommit {
  let open: ControlledTransaction<Tables> | undefined

  async function begin(): Promise<ControlledTransaction<Tables>> {
    const trx = await pool.startTransaction().execute()
    try {
      await onBegin(trx)
    } catch (error) {
      await trx.rollback().execute()
      throw error
    }
    return trx
  }

  async function rollback(): Promise<void> {
    const trx = open
    open = undefined
    await trx?.rollback().execute()
  }

  const connection: DatabaseConnection = {
    executeQuery: <Row>(query: CompiledQuery) => (open ?? pool).executeQuery<Row>(query),
    streamQuery: <Row>(query: CompiledQuery, chunkSize = 1) =>
      (open ?? pool).getExecutor().stream<Row>(query, chunkSize),
  }
  const driver: Driver = {
    init: () => Promise.resolve(),
    acquireConnection: () => Promise.resolve(connection),
    beginTransaction: async () => {
      if (open) throw new Error('A transaction with a deferred commit is the only one of its request')
      open = await begin()
    },
    commitTransaction: () => Promise.resolve(),
    rollbackTransaction: rollback,
    releaseConnection: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }
  const db = new Kysely<Tables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => driver,
      createIntrospector: (any) => new PostgresIntrospector(any),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  })
  const executor = db.getExecutor()
  const provide = executor.provideConnection.bind(executor)
  // A statement that fails in the open transaction cannot be run again, because the transaction is then aborted.
  executor.provideConnection = (consumer) =>
    open ? provide(consumer) : retryWhileLocked(() => provide(consumer), maxLockWaitMs)

  return {
    db,
    openTransaction: async () => (open ??= await begin()),
    commit: async () => {
      await open?.commit().execute()
      open = undefined
    },
    rollback,
  }
}
