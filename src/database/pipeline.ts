import { CompiledQuery, type Kysely, type QueryExecutorProvider } from 'kysely'
import type { Tables } from './schema.ts'

/**
 * `pending`: the last statements of a transaction, which `commit` follows without waiting for their results. One of them may
 * be the result.
 */
type Pipelined<Result> = { result: Result | Promise<Result>; pending: Promise<unknown> }

/**
 * Runs a transaction with fewer round trips: sends `begin` together with the statements that `run` executes at first, and
 * `commit` together with its last ones. Statements are sent at once, in the order of the calls. Kysely's own
 * transactions wait for each result.
 *
 * If one of them fails, PostgreSQL rejects the following ones, and rolls back at the commit. Statements that are sent together
 * have the time of one for their responses, so they must be short.
 */
export function pipelineTransaction<Result>(
  db: Kysely<Tables>,
  run: (trx: QueryExecutorProvider) => Promise<Pipelined<Result>>,
): Promise<Result> {
  const executor = db.getExecutor()
  return executor.provideConnection(async (connection) => {
    const send = (text: string) => connection.executeQuery(CompiledQuery.raw(text))
    const begun = send('begin')
    const inTransaction = executor.withConnectionProvider({
      // Without a transaction, no result is returned, so that nothing is written on its basis.
      provideConnection: async (consumer) => (await Promise.all([consumer(connection), begun]))[0],
    })
    try {
      const { result, pending } = await run({ getExecutor: () => inTransaction })
      await Promise.all([pending, send('commit')])
      return await result
    } catch (error) {
      await send('rollback')
      throw error
    }
  })
}
