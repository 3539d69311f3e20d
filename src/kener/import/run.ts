import { auditedTransaction } from '../../audit/transaction.ts'
import { quote } from '../../terminal.ts'
import type { SourceMonitor } from './client.ts'
import { importIncidents } from './incidents.ts'
import type { ListedItem } from './items.ts'
import {
  count,
  countMissing,
  type Counts,
  type CountsByKind,
  describe,
  type Job,
  type Outcome,
  reportRejected,
  sourceOf,
  take,
  withPrefix,
} from './job.ts'
import { type Tags, toMonitor, toTag } from './mapping.ts'
import { type Notice, notice } from './progress.ts'
import {
  type Imported,
  importMonitor,
  type LocalMonitor,
  readImports,
  readLocalMonitors,
  reimportMonitor,
} from './repository.ts'

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
  else await recordRun(job, countsByKind)
  return Object.values(countsByKind).every(({ skipped }) => skipped === undefined)
}

/** Records the import itself: each item has audit events of its own. */
async function recordRun(job: Job, countsByKind: CountsByKind): Promise<void> {
  const { url } = job.kener
  const changes = Object.fromEntries(
    Object.entries(countsByKind).map(([kind, counts]) => [kind, [null, describe(counts)] as [null, string]]),
  )
  await auditedTransaction(job, async ({ record }) => {
    record({ action: 'import.completed', target: { type: 'import', id: url, name: null }, changes })
  })
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
  const localMonitors = await readLocalMonitors(db)
  const taken = new Set([...localMonitors.values()].map(({ tag }) => tag))
  const imported = new Map<string, string>()
  for (const [index, { read }] of sortForImport(list.items).entries()) {
    progress.update(`monitors: ${index} of ${list.items.length}`)
    count(counts, await importOneMonitor(job, read(), { known, localMonitors, taken, imported }))
  }
  countMissing(counts, known)
  return { find: (tag) => imported.get(tag) ?? (taken.has(tag) ? tag : undefined) }
}

type MonitorContext = {
  known: Map<number, Imported>
  /** By local id. */
  localMonitors: Map<number, LocalMonitor>
  taken: Set<string>
  /** Local tags of imported monitors by their tag at the source. */
  imported: Map<string, string>
}

async function importOneMonitor(
  job: Job,
  item: SourceMonitor,
  { known, localMonitors, taken, imported }: MonitorContext,
): Promise<Outcome> {
  const { kener, dryRun, progress } = job
  const before = take(known, item.id)
  const local = before && localMonitors.get(before.id)
  if (before && !local) return 'deleted locally'
  if (local) imported.set(item.tag, local.tag)
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
  if (local) {
    if (!dryRun && !(await reimportMonitor(job, from, local.tag, monitor))) return 'deleted locally'
    if (local.hidden && !monitor.attributes.hidden) warn(notice`stays hidden, as it is locally`)
  } else if (!taken.has(tag) && (dryRun || (await importMonitor(job, from, monitor)))) {
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
  if (!before && monitor.fields.monitor_type === 'HEARTBEAT') {
    warn(notice`its heartbeat URL is not imported: create one with POST /api/monitors/${tag}/heartbeat`)
  }
  if (dryRun) warn({ kind: outcome, text: outcome })
  return outcome
}
