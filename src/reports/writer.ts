import type { Kysely } from 'kysely'
import { batch } from '../database/batch.ts'
import type { Tables } from '../database/schema.ts'
import { type MonitorReports, type Report, writeReports, type WriteResult } from './repository.ts'

/** Longest report: 366 days, in minutes. */
export const maxReportMinutes = 366 * 1440

/** Reports of more minutes are not batched, so that small reports do not wait for them. */
const maxBatchedMinutes = 100

const maxBatchSize = 200

export type ReportWriter = ReturnType<typeof createReportWriter>

/**
 * Writes reports in batches. A batch skips monitors that another transaction locks (for example while it fills a year),
 * so that it never delays reports about other monitors; the skipped reports are written by a second queue, which waits.
 */
export function createReportWriter(db: Kysely<Tables>) {
  const writeUnlocked = batch((items: MonitorReports[]) => writeReports(db, items, 'skip'), maxBatchSize)
  const writeLocked = batch((items: MonitorReports[]) => writeReports(db, items, 'wait'), maxBatchSize)

  return async function write(tag: string, reports: Report[]): Promise<WriteResult> {
    const item = { tag, reports }
    if (countMinutes(reports) > maxBatchedMinutes) return writeAlone(db, item)
    const result = await writeUnlocked(item)
    return result.outcome === 'locked' ? writeLocked(item) : result
  }
}

function countMinutes(reports: Report[]): number {
  return reports.reduce((sum, { from = 0, to = from + 1 }) => sum + to - from, 0)
}

async function writeAlone(db: Kysely<Tables>, item: MonitorReports): Promise<WriteResult> {
  const [result] = await writeReports(db, [item], 'wait')
  if (!result) throw new Error('writeReports returned no result')
  return result
}
