import { hash } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Tables } from '../../database/schema.ts'
import { isStorable } from '../../wire/validator.ts'
import type { KenerClient, SourceItem, SourceMonitor } from './client.ts'
import { describeTime, type Tags, toComment, toIncident, toMonitor, toTag } from './mapping.ts'
import { type Progress, quote } from './progress.ts'
import {
  type CommentImport,
  type Imported,
  importIncident,
  importMonitor,
  readImports,
  readTags,
  reimportMonitor,
  type Source,
} from './repository.ts'

export type Job = { db: Kysely<Tables>; kener: KenerClient; dryRun: boolean; progress: Progress }

const outcomes = [
  'new',
  'changed',
  'unchanged',
  'already present',
  'deleted locally',
  'deleted at the source',
  'skipped',
] as const

type Outcome = (typeof outcomes)[number]
type Counts = Partial<Record<Outcome, number>>
type CountsByKind = Record<'monitors' | 'incidents' | 'comments', Counts>

/** Number of incidents whose comments are requested at the same time. */
const concurrency = 4

/**
 * Imports the monitors, incidents and comments of a Kener. An item that was imported before is only written again when
 * it has changed at the source, and not if it was deleted locally. Nothing is deleted locally. Each item is stored in one
 * transaction with a record of its import, so that an interrupted import continues where it stopped.
 * @returns false if an item was skipped
 */
export async function importFromKener(job: Job): Promise<boolean> {
  const countsByKind: CountsByKind = { monitors: {}, incidents: {}, comments: {} }
  const tags = await importMonitors(job, countsByKind.monitors)
  await importIncidents(job, tags, countsByKind)
  for (const [kind, counts] of Object.entries(countsByKind))
    job.progress.print(`${kind}: ${describe(counts)}`)
  if (job.dryRun) job.progress.print('Dry run: nothing was written')
  return Object.values(countsByKind).every(({ skipped }) => skipped === undefined)
}

function count(counts: Counts, outcome: Outcome, by = 1): void {
  if (by > 0) counts[outcome] = (counts[outcome] ?? 0) + by
}

function describe(counts: Counts): string {
  const parts = outcomes.flatMap((outcome) => (counts[outcome] ? [`${counts[outcome]} ${outcome}`] : []))
  return parts.join(', ') || 'none'
}

/** Sorts by id, but monitors that keep their tag first, so that a changed tag does not take the tag of another one. */
function sortForImport(monitors: SourceMonitor[]): SourceMonitor[] {
  const rank = (item: SourceMonitor) => (toTag(item) === item.tag ? 0 : 1)
  return monitors.sort((a, b) => rank(a) - rank(b) || a.id - b.id)
}

async function importMonitors(job: Job, counts: Counts): Promise<Tags> {
  const { db, kener, progress } = job
  progress.update(`Reading the monitors of ${kener.url}`)
  const listed = await kener.monitors()
  const known = await readImports(db, kener.url, 'monitor')
  const localTags = await readTags(db)
  const taken = new Set(localTags.values())
  const imported = new Map<string, string>()
  for (const [index, item] of sortForImport(listed).entries()) {
    progress.update(`monitors: ${index} of ${listed.length}`)
    count(counts, await importOneMonitor(job, item, { known, localTags, taken, imported }))
  }
  count(counts, 'deleted at the source', countExisting(known))
  return { find: (tag) => imported.get(tag) ?? (taken.has(tag) ? tag : undefined) }
}

type MonitorContext = {
  known: Map<number, Imported>
  /** Local tags by local id. */
  localTags: Map<number, string>
  taken: Set<string>
  /** Local tags of imported monitors by their tag at the source. */
  imported: Map<string, string>
}

async function importOneMonitor(
  { db, kener, dryRun, progress }: Job,
  item: SourceMonitor,
  { known, localTags, taken, imported }: MonitorContext,
): Promise<Outcome> {
  const before = take(known, item.id)
  const localTag = before && localTags.get(before.id)
  if (before && localTag === undefined) return 'deleted locally'
  if (localTag !== undefined) imported.set(item.tag, localTag)
  const from = sourceOf(kener, item)
  if (before?.updated_at === from.updated_at) return 'unchanged'
  const warn = (message: string) => {
    progress.print(`monitor ${item.id} ${quote(item.tag)}: ${message}`)
  }
  const { monitor, warnings } = toMonitor(item)
  const { tag } = monitor.attributes
  if (localTag !== undefined) {
    if (!dryRun && !(await reimportMonitor(db, from, localTag, monitor))) return 'deleted locally'
  } else if (!taken.has(tag) && (dryRun || (await importMonitor(db, from, monitor)))) {
    taken.add(tag)
    imported.set(item.tag, tag)
  } else if (tag === item.tag) {
    warn('a monitor with this tag already exists locally and is not changed')
    return 'already present'
  } else {
    warn(
      `skipped: its tag would become ${quote(tag)}, which another monitor has. Change one of the two tags.`,
    )
    return 'skipped'
  }
  const outcome = before ? 'changed' : 'new'
  for (const warning of warnings) warn(warning)
  if (dryRun) warn(outcome)
  return outcome
}

async function importIncidents(job: Job, tags: Tags, countsByKind: CountsByKind): Promise<void> {
  const { db, kener, progress } = job
  progress.update(`Reading the incidents of ${kener.url}`)
  const { incidents, truncatedAt } = await kener.incidents()
  for (const start of truncatedAt) {
    progress.print(
      `incidents that start at ${describeTime(start)}: only the newest 1000 are imported and the others are skipped, ` +
        'because Kener does not list them',
    )
    count(countsByKind.incidents, 'skipped')
  }
  const known = {
    incidents: await readImports(db, kener.url, 'incident'),
    comments: await readImports(db, kener.url, 'comment'),
  }
  for (let index = 0; index < incidents.length; index += concurrency) {
    progress.update(`incidents: ${index} of ${incidents.length}`)
    const batch = incidents.slice(index, index + concurrency)
    const timelines = await Promise.all(
      batch.map(async ({ id }) =>
        known.incidents.get(id)?.exists_locally === false ? [] : kener.comments(id),
      ),
    )
    for (const [position, item] of batch.entries()) {
      await importWithComments(job, item, timelines[position], { known, tags, countsByKind })
    }
  }
  count(countsByKind.incidents, 'deleted at the source', countExisting(known.incidents))
  count(countsByKind.comments, 'deleted at the source', countExisting(known.comments))
}

type IncidentContext = {
  known: Record<'incidents' | 'comments', Map<number, Imported>>
  tags: Tags
  countsByKind: CountsByKind
}

async function importWithComments(
  { db, kener, dryRun, progress }: Job,
  item: SourceItem,
  timeline: SourceItem[] | undefined,
  { known, tags, countsByKind }: IncidentContext,
): Promise<void> {
  const before = take(known.incidents, item.id)
  if (before?.exists_locally === false) {
    count(countsByKind.incidents, 'deleted locally')
    return
  }
  // The incident was deleted at the source after it was listed.
  if (!timeline) {
    count(countsByKind.incidents, 'deleted at the source')
    return
  }
  const warn = (message: string) => {
    progress.print(`incident ${item.id} ${quote(item.title)}: ${message}`)
  }
  const from = sourceOf(kener, item)
  const outcome = !before ? 'new' : before.updated_at === from.updated_at ? 'unchanged' : 'changed'
  const { comments, counts, warnings } = parseTimeline(kener, timeline, known.comments)
  const parsed = outcome === 'unchanged' ? { warnings: [] } : toIncident(item, tags)
  if ('unusable' in parsed) {
    warn(`skipped with ${timeline.length} comments: ${parsed.unusable}`)
    count(countsByKind.incidents, 'skipped')
    count(countsByKind.comments, 'skipped', timeline.length)
    return
  }
  const incident = 'value' in parsed ? { from, ...parsed.value } : undefined
  const isStored =
    dryRun ||
    (!incident && comments.length === 0) ||
    (await importIncident(db, { id: before?.id, incident, comments }))
  if (!isStored) {
    count(countsByKind.incidents, 'deleted locally')
    return
  }
  for (const warning of [...parsed.warnings, ...warnings]) warn(warning)
  if (dryRun && incident) warn(outcome)
  if (dryRun && comments.length > 0) warn(`comments: ${describe(counts)}`)
  count(countsByKind.incidents, outcome)
  for (const each of outcomes) count(countsByKind.comments, each, counts[each] ?? 0)
}

/** Returns the comments that are to be stored, and counts the outcomes of all comments. */
function parseTimeline(kener: KenerClient, timeline: SourceItem[], known: Map<number, Imported>) {
  const comments: CommentImport[] = []
  const warnings: string[] = []
  const counts: Counts = {}
  for (const item of timeline) {
    const before = take(known, item.id)
    const from = sourceOf(kener, item)
    if (before?.exists_locally === false) {
      count(counts, 'deleted locally')
    } else if (before?.updated_at === from.updated_at) {
      count(counts, 'unchanged')
    } else {
      const parsed = toComment(item)
      if ('unusable' in parsed) {
        warnings.push(`comment ${item.id} skipped: ${parsed.unusable}`)
        count(counts, 'skipped')
      } else {
        comments.push({ id: before?.id, from, values: parsed.value })
        warnings.push(...parsed.warnings.map((warning) => `comment ${item.id}: ${warning}`))
        count(counts, before ? 'changed' : 'new')
      }
    }
  }
  return { comments, counts, warnings }
}

/** Removes the record from the map, so that records of items that the source did not list remain. */
function take(known: Map<number, Imported>, id: number): Imported | undefined {
  const imported = known.get(id)
  known.delete(id)
  return imported
}

function countExisting(known: Map<number, Imported>): number {
  return [...known.values()].filter(({ exists_locally }) => exists_locally).length
}

/** Identifies an item and its version. Uses a digest of the item as version if it has no usable `updated_at`. */
function sourceOf({ url }: KenerClient, item: SourceItem): Source {
  const { updated_at: updatedAt } = item
  const isUsable = typeof updatedAt === 'string' && updatedAt !== '' && isStorable(updatedAt)
  return {
    source: url,
    source_id: item.id,
    updated_at: isUsable ? updatedAt : hash('sha256', JSON.stringify(item)),
  }
}
