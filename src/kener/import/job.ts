import { hash } from 'node:crypto'
import type { ChangeContext } from '../../audit/transaction.ts'
import { isStorable } from '../../wire/validator.ts'
import type { KenerClient } from './client.ts'
import type { ItemList, SourceItem } from './items.ts'
import { type Notice, notice, type Progress } from './progress.ts'
import type { Imported, Source } from './repository.ts'

export type Job = ChangeContext & { kener: KenerClient; dryRun: boolean; progress: Progress }

export const outcomes = [
  'new',
  'changed',
  'unchanged',
  'already present',
  'deleted locally',
  'deleted at the source',
  'skipped',
] as const

export type Outcome = (typeof outcomes)[number]
export type Counts = Partial<Record<Outcome, number>>
export type CountsByKind = Record<'monitors' | 'incidents' | 'comments', Counts>

/** Longest updated_at that is recorded. Kener's has 24 characters. */
const maxVersionLength = 64

export function count(counts: Counts, outcome: Outcome, by = 1): void {
  if (by > 0) counts[outcome] = (counts[outcome] ?? 0) + by
}

export function describe(counts: Counts): string {
  const parts = outcomes.flatMap((outcome) => (counts[outcome] ? [`${counts[outcome]} ${outcome}`] : []))
  return parts.join(', ') || 'none'
}

/** Reports and counts the items of a list that cannot be read. */
export function reportRejected(
  progress: Progress,
  counts: Counts,
  subject: string,
  { items, rejected, omitted }: ItemList<SourceItem>,
): void {
  for (const { name, reason } of rejected)
    progress.report(`${subject} ${name}`, withPrefix('skipped: ', reason))
  count(counts, 'skipped', rejected.length + omitted)
  if (omitted > 0) {
    const read = items.length + rejected.length
    progress.report(
      subject,
      notice`skipped ${omitted} of a list of ${read + omitted}, because only ${read} are read`,
    )
  }
}

export function withPrefix(prefix: string, { kind, text }: Notice): Notice {
  return { kind: `${prefix}${kind}`, text: `${prefix}${text}` }
}

/** Removes the record from the map, so that records of items that the source did not list remain. */
export function take(known: Map<number, Imported>, id: number): Imported | undefined {
  const imported = known.get(id)
  known.delete(id)
  return imported
}

/** Counts recorded items that the source did not list. A skipped item may be one of them, so that the number is not known. */
export function countMissing(counts: Counts, known: Map<number, Imported>): void {
  if (counts.skipped) return
  const missing = [...known.values()].filter(({ exists_locally }) => exists_locally)
  count(counts, 'deleted at the source', missing.length)
}

/** Identifies an item and its version. Uses a digest of the item as version if it has no usable `updated_at`. */
export function sourceOf({ url }: KenerClient, item: SourceItem): Source {
  const { updated_at: updatedAt } = item
  const isUsable = typeof updatedAt === 'string' && isVersion(updatedAt)
  return {
    source: url,
    source_id: item.id,
    updated_at: isUsable ? updatedAt : hash('sha256', JSON.stringify(item)),
  }
}

function isVersion(text: string): boolean {
  return text !== '' && text.length <= maxVersionLength && isStorable(text)
}
