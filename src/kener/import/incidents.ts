import { OperatorError } from '../../operator-error.ts'
import { quote } from '../../terminal.ts'
import { type KenerClient, UnusableListError } from './client.ts'
import type { ItemList, SourceItem } from './items.ts'
import {
  count,
  countMissing,
  type Counts,
  type CountsByKind,
  describe,
  type Job,
  outcomes,
  reportRejected,
  sourceOf,
  take,
} from './job.ts'
import { describeTime, type Tags, toComment, toIncident } from './mapping.ts'
import { type Notice, notice } from './progress.ts'
import { type CommentImport, type Imported, importIncident, readImports } from './repository.ts'
import type { Window } from './windows.ts'

/** Number of incidents whose comments are requested at the same time. */
const concurrency = 4

/** Most incidents, and most comments, that an import reads, because it remembers their ids. */
const maxItems = 1_000_000

export async function importIncidents(job: Job, tags: Tags, countsByKind: CountsByKind): Promise<void> {
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
  job: Job,
  item: SourceItem,
  timeline: Timeline,
  { known, seen, tags, countsByKind }: IncidentContext,
): Promise<void> {
  const { kener, dryRun, progress } = job
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
    (await importIncident(job, { id: before?.id, incident, comments }))
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
