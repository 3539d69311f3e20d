import type { Kysely } from 'kysely'
import pLimit from 'p-limit'
import { batch } from '../database/batch.ts'
import { isRerunnable } from '../database/failures.ts'
import { retryWhileLocked } from '../database/locks.ts'
import type { Database } from '../database/open.ts'
import type { Tables } from '../database/schema.ts'
import { requestAborted, rowLocked } from '../errors.ts'
import { writeCurrentReports } from './current-hour.ts'
import {
  type Locked,
  type MonitorReports,
  type Report,
  writeReports,
  type WriteResult,
} from './repository.ts'
import { createTurns } from './turns.ts'

/** Longest report: 366 days, in minutes. */
export const maxReportMinutes = 366 * 1440

/** Longest latency: one day, in milliseconds. */
export const maxLatencyMs = 86_400_000

/** Reports of more minutes are not batched, so that small reports do not wait for them. */
const maxBatchedMinutes = 100

const maxBatchSize = 200

/** Writes that are not batched and in flight at the same time, because each takes a connection for up to seconds. */
const maxLongWrites = 2

type Result = WriteResult | Locked

export type ReportWriter = ReturnType<typeof createReportWriter>

/**
 * Writes reports in batches. A batch skips monitors that another transaction locks (for example while another replica
 * fills a year), so that it never delays reports about other monitors; only the skipped reports are tried again.
 *
 * It does wait, until lock_timeout, for a locked row of the stored reports, because skipping those takes another statement.
 * Then the batch is written with that statement, and so are all reports about a monitor that it skipped, until its rows
 * are unlocked.
 */
export function createReportWriter({
  db,
  batchDb,
  maxLockWaitMs,
}: Pick<Database, 'db' | 'batchDb' | 'maxLockWaitMs'>) {
  /** Tags of the monitors whose rows were skipped. */
  const contended = new Set<string>()
  const inTurn = createTurns()
  const limitLongWrites = pLimit(maxLongWrites)

  const writeBatch = batch(async (items: MonitorReports[]) => {
    const results = await writeOrSkipLocked(items, () => writeCurrentReports(batchDb, items))
    const others = items.filter((_item, index) => results[index] === undefined)
    if (others.length === 0) return results as Result[]
    const writing = writeOrSkipLocked(others, () => writeReports(batchDb, others, 'skip'))
    // The next batch follows this one. If it fails, only these items fail, because the others have been committed.
    await Promise.allSettled([writing])
    let next = 0
    return results.map((result) => {
      if (result) return result
      const index = next++
      return writing.then((otherResults) => otherResults[index] as Result)
    })
  }, maxBatchSize)

  const writeContendedBatch = batch(writeUnlocked, maxBatchSize)

  /** Writes items, or those that are not locked, if another transaction locks a row. */
  async function writeOrSkipLocked<Each>(items: MonitorReports[], write: () => Promise<Each[]>) {
    try {
      return await write()
    } catch (error) {
      if (!isRerunnable(error)) throw error
      return writeUnlocked(items)
    }
  }

  async function writeUnlocked(items: MonitorReports[]): Promise<Result[]> {
    const results = await writeReports(batchDb, items, 'skip_rows')
    items.forEach(({ tag }, index) => {
      if (results[index]?.outcome === 'locked') contended.add(tag)
      else contended.delete(tag)
    })
    return results
  }

  async function writeBatched(item: MonitorReports): Promise<WriteResult> {
    const result = await retryWhileLocked(
      () => (contended.has(item.tag) ? writeContendedBatch(item) : writeBatch(item)),
      maxLockWaitMs,
      ({ outcome }) => outcome === 'locked',
    )
    if (result.outcome === 'locked') throw rowLocked()
    return result
  }

  function writeAlone(item: MonitorReports, isLong: boolean, db: Kysely<Tables>): Promise<WriteResult> {
    const write = () => writeOne(db, item)
    return isLong ? limitLongWrites(write) : write()
  }

  /**
   * @param isCancelled true if the client has disconnected: then a write that waits for others is not executed
   * @param ownDb the database of a write that belongs to a transaction of its request, and is not batched
   * @throws ApiError 503 if the monitor or one of its rows stays locked
   */
  return async function write(
    tag: string,
    reports: Report[],
    isCancelled: () => boolean = () => false,
    ownDb?: Kysely<Tables>,
  ): Promise<WriteResult> {
    const item = { tag, reports }
    const isLong = countMinutes(reports) > maxBatchedMinutes
    const isShared = !isLong && !ownDb
    const work = isShared ? () => writeBatched(item) : () => writeAlone(item, isLong, ownDb ?? db)
    const result = await inTurn(tag, { work, isShared, isCancelled })
    if (!result) throw requestAborted()
    return result
  }
}

function countMinutes(reports: Report[]): number {
  return reports.reduce((sum, { from = 0, to = from + 1 }) => sum + to - from, 0)
}

async function writeOne(db: Kysely<Tables>, item: MonitorReports): Promise<WriteResult> {
  const [result] = await writeReports(db, [item], 'wait')
  if (!result) throw new Error('writeReports returned no result')
  return result
}
