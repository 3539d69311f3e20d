import { hash } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Tables } from '../../database/schema.ts'
import { OperatorError } from '../../operator-error.ts'
import { quote } from '../../terminal.ts'
import { isStorable } from '../../wire/validator.ts'
import { type KenerClient, type SourceMonitor, UnusableListError, type Window } from './client.ts'
import type { ItemList, ListedItem, SourceItem } from './items.ts'
import { describeTime, type Tags, toComment, toIncident, toMonitor, toTag } from './mapping.ts'
import { type Notice, notice, type Progress } from './progress.ts'
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

/** Most incidents, and most comments, that an import reads, because it remembers their ids. */
const maxItems = 1_000_000

/** Longest updated_at that is recorded. Kener's has 24 characters. */
const maxVersionLength = 64

/**
 * Imports the monitors, incidents and comments of a Kener. An item that was imported before is only written again when
 * it has changed at the source, and not if it was deleted locally. Nothing is deleted locally. Each item is stored in one
 * transaction with a record of its import, so that an interrupted import continues where it stopped. An invalid item is
 * skipped.
 * @returns false if an item was skipped
 */
export async function importFromKener(job: Job): Promise<boolean> {
  const countsByKind: CountsByKind = { monitors: {}, incidents: {}, comments: {} }
  try {
    const tags = await importMonitors(job, countsByKind.monitors)
    await importIncidents(job, tags, countsByKind)
  } finally {
    job.progress.printOmitted()
  }
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

/** Reports and counts the items of a list that cannot be read. */
function reportRejected(
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

function withPrefix(prefix: string, { kind, text }: Notice): Notice {
  return { kind: `${prefix}${kind}`, text: `${prefix}${text}` }
}

/** Sorts monitors that keep their tag first, so that a changed tag does not take the tag of another one. */
function sortForImport(monitors: ListedItem<SourceMonitor>[]): ListedItem<SourceMonitor>[] {
  const [kept, changed]: [typeof monitors, typeof monitors] = [[], []]
  for (const listed of monitors) {
    const item = listed.read()
    ;(toTag(item) === item.tag ? kept : changed).push(listed)
  }
  return [...kept, ...changed]
}

async function importMonitors(job: Job, counts: Counts): Promise<Tags> {
  const { db, kener, progress } = job
  progress.update(`Reading the monitors of ${kener.url}`)
  const list = await kener.monitors()
  reportRejected(progress, counts, 'monitor', list)
  const known = await readImports(db, kener.url, 'monitor')
  const localTags = await readTags(db)
  const taken = new Set(localTags.values())
  const imported = new Map<string, string>()
  for (const [index, { read }] of sortForImport(list.items).entries()) {
    progress.update(`monitors: ${index} of ${list.items.length}`)
    count(counts, await importOneMonitor(job, read(), { known, localTags, taken, imported }))
  }
  countMissing(counts, known)
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
  const warn = (message: Notice) => {
    progress.report(`monitor ${item.id} ${quote(item.tag)}`, message)
  }
  const parsed = toMonitor(item)
  if ('unusable' in parsed) {
    warn(withPrefix('skipped: ', parsed.unusable))
    return 'skipped'
  }
  const { value: monitor, warnings } = parsed
  const { tag } = monitor.attributes
  if (localTag !== undefined) {
    if (!dryRun && !(await reimportMonitor(db, from, localTag, monitor))) return 'deleted locally'
  } else if (!taken.has(tag) && (dryRun || (await importMonitor(db, from, monitor)))) {
    taken.add(tag)
    imported.set(item.tag, tag)
  } else if (tag === item.tag) {
    warn(notice`a monitor with this tag already exists locally and is not changed`)
    return 'already present'
  } else {
    warn(
      notice`skipped: its tag would become ${quote(tag)}, which another monitor has. Change one of the two tags.`,
    )
    return 'skipped'
  }
  const outcome = before ? 'changed' : 'new'
  for (const warning of warnings) warn(warning)
  if (dryRun) warn({ kind: outcome, text: outcome })
  return outcome
}

async function importIncidents(job: Job, tags: Tags, countsByKind: CountsByKind): Promise<void> {
  const { db, kener, progress } = job
  progress.update(`Reading the incidents of ${kener.url}`)
  const known = {
    incidents: await readImports(db, kener.url, 'incident'),
    comments: await readImports(db, kener.url, 'comment'),
  }
  const seen = { incidents: new Set<number>(), comments: new Set<number>() }
  for await (const { list, truncated } of kener.incidents()) {
    reportRejected(progress, countsByKind.incidents, 'incident', list)
    if (truncated) {
      progress.report(
        `incidents that start ${describeWindow(truncated)}`,
        notice`only the newest 1000 are imported and the others are skipped, because Kener does not list them`,
      )
      count(countsByKind.incidents, 'skipped')
    }
    // Windows do not overlap, so that an incident that was seen before moved in the meantime, or has no valid start.
    const incidents = list.items.filter(({ id }) => !seen.incidents.has(id))
    for (let index = 0; index < incidents.length; index += concurrency) {
      progress.update(`incidents: ${seen.incidents.size}`)
      const batch = incidents.slice(index, index + concurrency)
      const timelines = await Promise.all(batch.map(({ id }) => readTimeline(kener, known.incidents, id)))
      for (const [position, { id, read }] of batch.entries()) {
        assertFewItems(kener, seen)
        seen.incidents.add(id)
        await importWithComments(job, read(), timelines[position], { known, seen, tags, countsByKind })
      }
    }
  }
  countMissing(countsByKind.incidents, known.incidents)
  // The comments of a skipped incident are not known.
  if (!countsByKind.incidents.skipped) countMissing(countsByKind.comments, known.comments)
}

function describeWindow({ from, to }: Window): string {
  return from === to ? `at ${describeTime(from)}` : `from ${describeTime(from)} to ${describeTime(to)}`
}

function assertFewItems({ url }: KenerClient, seen: IncidentContext['seen']): void {
  for (const [kind, ids] of Object.entries(seen)) {
    if (ids.size >= maxItems)
      throw new OperatorError(`${url} has more than ${maxItems} ${kind}: is it a Kener 4?`)
  }
}

/** The comments of an incident. Undefined if it no longer exists at the source; an error if they cannot be read. */
type Timeline = ItemList<SourceItem> | UnusableListError | undefined

async function readTimeline(kener: KenerClient, known: Map<number, Imported>, id: number): Promise<Timeline> {
  // Comments of an incident that was deleted locally are not imported.
  if (known.get(id)?.exists_locally === false) return undefined
  return kener.comments(id).catch((error: unknown) => {
    if (error instanceof UnusableListError) return error
    throw error
  })
}

type IncidentContext = {
  known: Record<'incidents' | 'comments', Map<number, Imported>>
  /** Ids of the items that were listed so far. */
  seen: Record<'incidents' | 'comments', Set<number>>
  tags: Tags
  countsByKind: CountsByKind
}

async function importWithComments(
  { db, kener, dryRun, progress }: Job,
  item: SourceItem,
  timeline: Timeline,
  { known, seen, tags, countsByKind }: IncidentContext,
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
  const subject = `incident ${item.id} ${quote(item.title)}`
  if (timeline instanceof UnusableListError) {
    progress.report(subject, notice`skipped, because its comments cannot be read: ${timeline.message}`)
    count(countsByKind.incidents, 'skipped')
    return
  }
  const from = sourceOf(kener, item)
  const outcome = !before ? 'new' : before.updated_at === from.updated_at ? 'unchanged' : 'changed'
  const { comments, counts, reports } = parseTimeline(kener, timeline, known.comments, seen.comments)
  const parsed = outcome === 'unchanged' ? { warnings: [] } : toIncident(item, tags)
  if ('unusable' in parsed) {
    const total = timeline.items.length + timeline.rejected.length + timeline.omitted
    progress.report(`${subject}: skipped with ${total} comments`, parsed.unusable)
    count(countsByKind.incidents, 'skipped')
    count(countsByKind.comments, 'skipped', total)
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
  for (const warning of parsed.warnings) progress.report(subject, warning)
  reportRejected(progress, countsByKind.comments, `${subject}: comment`, timeline)
  for (const [about, message] of reports) progress.report(`${subject}: comment ${about}`, message)
  if (dryRun && incident) progress.report(subject, { kind: outcome, text: outcome })
  if (dryRun && comments.length > 0) progress.report(subject, notice`comments: ${describe(counts)}`)
  count(countsByKind.incidents, outcome)
  for (const each of outcomes) count(countsByKind.comments, each, counts[each] ?? 0)
}

/** Returns the comments that are to be stored, and counts the outcomes of all comments. */
function parseTimeline(
  kener: KenerClient,
  { items }: ItemList<SourceItem>,
  known: Map<number, Imported>,
  seen: Set<number>,
) {
  const comments: CommentImport[] = []
  const reports: [about: string, message: Notice][] = []
  const counts: Counts = {}
  for (const { id, read } of items) {
    const item = read()
    const before = take(known, id)
    const from = sourceOf(kener, item)
    if (seen.has(id)) {
      reports.push([`${id} skipped`, notice`its id is also that of a comment of another incident`])
      count(counts, 'skipped')
    } else if (before?.exists_locally === false) {
      count(counts, 'deleted locally')
    } else if (before?.updated_at === from.updated_at) {
      count(counts, 'unchanged')
    } else {
      const parsed = toComment(item)
      if ('unusable' in parsed) {
        reports.push([`${id} skipped`, parsed.unusable])
        count(counts, 'skipped')
      } else {
        comments.push({ id: before?.id, from, values: parsed.value })
        for (const warning of parsed.warnings) reports.push([String(id), warning])
        count(counts, before ? 'changed' : 'new')
      }
    }
    seen.add(id)
  }
  return { comments, counts, reports }
}

/** Removes the record from the map, so that records of items that the source did not list remain. */
function take(known: Map<number, Imported>, id: number): Imported | undefined {
  const imported = known.get(id)
  known.delete(id)
  return imported
}

/** Counts recorded items that the source did not list. A skipped item may be one of them, so that the number is not known. */
function countMissing(counts: Counts, known: Map<number, Imported>): void {
  if (counts.skipped) return
  const missing = [...known.values()].filter(({ exists_locally }) => exists_locally)
  count(counts, 'deleted at the source', missing.length)
}

/** Identifies an item and its version. Uses a digest of the item as version if it has no usable `updated_at`. */
function sourceOf({ url }: KenerClient, item: SourceItem): Source {
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
