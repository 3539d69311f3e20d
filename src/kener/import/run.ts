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
  'there already',
  'gone here',
  'no longer there',
  'skipped',
] as const

type Counts = Partial<Record<(typeof outcomes)[number], number>>
type CountsByKind = Record<'monitors' | 'incidents' | 'comments', Counts>

/** How many incidents are asked for their comments at once. */
const concurrency = 4

/**
 * Brings the monitors and incidents of a Kener here. What was brought before is left alone until it changes there, and
 * what was deleted here does not come back; nothing is deleted here. Each thing is stored together with the note that it
 * was: an import that was interrupted goes on where it stopped.
 * @returns false when something had to be skipped.
 */
export async function importFromKener(job: Job): Promise<boolean> {
  const countsByKind: CountsByKind = { monitors: {}, incidents: {}, comments: {} }
  const tags = await importMonitors(job, countsByKind.monitors)
  await importIncidents(job, tags, countsByKind)
  for (const [kind, counts] of Object.entries(countsByKind))
    job.progress.print(`${kind}: ${describe(counts)}`)
  if (job.dryRun) job.progress.print('This was a dry run: nothing was written')
  return Object.values(countsByKind).every(({ skipped }) => skipped === undefined)
}

function count(counts: Counts, outcome: keyof Counts, by = 1): void {
  if (by > 0) counts[outcome] = (counts[outcome] ?? 0) + by
}

function describe(counts: Counts): string {
  const parts = outcomes.flatMap((outcome) => (counts[outcome] ? [`${counts[outcome]} ${outcome}`] : []))
  return parts.join(', ') || 'none'
}

/** By id, which is the order in which they were made; but the tags that can stay as they are take theirs first. */
function sortForImport(monitors: SourceMonitor[]): SourceMonitor[] {
  const moves = (item: SourceMonitor) => (toTag(item) === item.tag ? 0 : 1)
  return monitors.sort((a, b) => moves(a) - moves(b) || a.id - b.id)
}

async function importMonitors({ db, kener, dryRun, progress }: Job, counts: Counts): Promise<Tags> {
  progress.update(`Asking ${kener.url} for its monitors`)
  const listed = await kener.monitors()
  const known = await readImports(db, kener.url, 'monitor')
  const localTags = await readTags(db)
  const taken = new Set(localTags.values())
  const imported = new Map<string, string>()
  for (const [index, item] of sortForImport(listed).entries()) {
    progress.update(`monitors: ${index} of ${listed.length}`)
    const before = take(known, item.id)
    const localTag = before && localTags.get(before.id)
    if (before && localTag === undefined) {
      count(counts, 'gone here')
      continue
    }
    if (localTag !== undefined) imported.set(item.tag, localTag)
    const from = sourceOf(kener, item)
    if (before?.updated_at === from.updated_at) {
      count(counts, 'unchanged')
      continue
    }
    const warn = (what: string) => {
      progress.print(`monitor ${item.id} ${quote(item.tag)}: ${what}`)
    }
    const { monitor, warnings } = toMonitor(item)
    const { tag } = monitor.attributes
    if (localTag === undefined) {
      const isStored = !taken.has(tag) && (dryRun || (await importMonitor(db, from, monitor)))
      if (!isStored) {
        const isTagKept = tag === item.tag
        warn(
          isTagKept
            ? 'there is one of this tag here already, which is left as it is'
            : `skipped, since its tag would become ${quote(tag)}, which is taken here: change one of the two`,
        )
        count(counts, isTagKept ? 'there already' : 'skipped')
        continue
      }
      taken.add(tag)
      imported.set(item.tag, tag)
    } else if (!dryRun && !(await reimportMonitor(db, from, localTag, monitor))) {
      count(counts, 'gone here')
      continue
    }
    const outcome = before ? 'changed' : 'new'
    for (const warning of warnings) warn(warning)
    if (dryRun) warn(outcome)
    count(counts, outcome)
  }
  count(counts, 'no longer there', countExisting(known))
  return { find: (tag) => imported.get(tag) ?? (taken.has(tag) ? tag : undefined) }
}

async function importIncidents(job: Job, tags: Tags, countsByKind: CountsByKind): Promise<void> {
  const { db, kener, progress } = job
  progress.update(`Asking ${kener.url} for its incidents`)
  const { incidents, truncatedAt } = await kener.incidents()
  for (const start of truncatedAt) {
    progress.print(
      `incidents that start at ${describeTime(start)}: skipped are those that Kener does not list, which shows ` +
        'the newest 1000 of them and no more',
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
  count(countsByKind.incidents, 'no longer there', countExisting(known.incidents))
  count(countsByKind.comments, 'no longer there', countExisting(known.comments))
}

type Context = {
  known: Record<'incidents' | 'comments', Map<number, Imported>>
  tags: Tags
  countsByKind: CountsByKind
}

async function importWithComments(
  { db, kener, dryRun, progress }: Job,
  item: SourceItem,
  timeline: SourceItem[] | undefined,
  { known, tags, countsByKind }: Context,
): Promise<void> {
  const before = take(known.incidents, item.id)
  if (before?.exists_locally === false) {
    count(countsByKind.incidents, 'gone here')
    return
  }
  // It was deleted there since it was listed.
  if (!timeline) {
    count(countsByKind.incidents, 'no longer there')
    return
  }
  const warn = (what: string) => {
    progress.print(`incident ${item.id} ${quote(item.title)}: ${what}`)
  }
  const from = sourceOf(kener, item)
  const outcome = !before ? 'new' : before.updated_at === from.updated_at ? 'unchanged' : 'changed'
  const { comments, counts, warnings } = parseTimeline(kener, timeline, known.comments)
  const parsed = outcome === 'unchanged' ? { warnings: [] } : toIncident(item, tags)
  if ('unusable' in parsed) {
    warn(`skipped, with ${timeline.length} comments: ${parsed.unusable}`)
    count(countsByKind.incidents, 'skipped')
    count(countsByKind.comments, 'skipped', timeline.length)
    return
  }
  const changes = 'value' in parsed ? { from, ...parsed.value } : undefined
  const isStored =
    dryRun ||
    (!changes && comments.length === 0) ||
    (await importIncident(db, { id: before?.id, changes, comments }))
  if (!isStored) {
    count(countsByKind.incidents, 'gone here')
    return
  }
  for (const warning of [...parsed.warnings, ...warnings]) warn(warning)
  if (dryRun && changes) warn(outcome)
  if (dryRun && comments.length > 0) warn(`comments: ${describe(counts)}`)
  count(countsByKind.incidents, outcome)
  for (const each of outcomes) count(countsByKind.comments, each, counts[each] ?? 0)
}

/** What of a timeline is to be stored, and what becomes of each comment. */
function parseTimeline(kener: KenerClient, timeline: SourceItem[], known: Map<number, Imported>) {
  const comments: CommentImport[] = []
  const warnings: string[] = []
  const counts: Counts = {}
  for (const item of timeline) {
    const before = take(known, item.id)
    const from = sourceOf(kener, item)
    if (before?.exists_locally === false) {
      count(counts, 'gone here')
    } else if (before?.updated_at === from.updated_at) {
      count(counts, 'unchanged')
    } else {
      const parsed = toComment(item)
      if ('unusable' in parsed) {
        warnings.push(`comment ${item.id} is skipped: ${parsed.unusable}`)
        count(counts, 'skipped')
      } else {
        comments.push({ id: before?.id, from, ...parsed.value })
        warnings.push(...parsed.warnings.map((warning) => `comment ${item.id}: ${warning}`))
        count(counts, before ? 'changed' : 'new')
      }
    }
  }
  return { comments, counts, warnings }
}

/** What remains of those that are known is what was not met. */
function take(known: Map<number, Imported>, id: number): Imported | undefined {
  const imported = known.get(id)
  known.delete(id)
  return imported
}

function countExisting(known: Map<number, Imported>): number {
  return [...known.values()].filter(({ exists_locally }) => exists_locally).length
}

/** What does not say when it was changed is known by what it says. */
function sourceOf({ url }: KenerClient, item: SourceItem): Source {
  const { updated_at: updatedAt } = item
  const isUsable = typeof updatedAt === 'string' && updatedAt !== '' && isStorable(updatedAt)
  return {
    source: url,
    source_id: item.id,
    updated_at: isUsable ? updatedAt : hash('sha256', JSON.stringify(item)),
  }
}
