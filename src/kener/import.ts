import { hash } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Static } from 'typebox'
import type { Affected } from '../database/incidents.ts'
import {
  type CommentImport,
  type Imported,
  importIncident,
  importMonitor,
  readImports,
  readTags,
  reimportMonitor,
  type Source,
} from '../database/kener-imports.ts'
import type { Tables } from '../database/schema.ts'
import { isStorable } from '../plugins/request-shape.ts'
import { impacts, type State, states } from '../schemas/incidents.ts'
import { fromWorst } from '../schemas/monitors.ts'
import { formatTime } from '../schemas/time.ts'
import { findErrors } from '../schemas/validator.ts'
import type { ItemThere, Kener, MonitorThere } from './client.ts'
import { toNewMonitor } from './monitors.ts'
import { type Progress, quote } from './progress.ts'
import { CreateMonitor, secondsMax, toAffected } from './schemas.ts'

export type Job = { db: Kysely<Tables>; kener: Kener; dryRun: boolean; progress: Progress }

const outcomes = [
  'new',
  'changed',
  'unchanged',
  'there already',
  'gone here',
  'no longer there',
  'skipped',
] as const

type Tally = Partial<Record<(typeof outcomes)[number], number>>
type Tallies = Record<'monitors' | 'incidents' | 'comments', Tally>

/** How many incidents are asked for their comments at once. */
const atOnce = 4

/**
 * Brings the monitors and incidents of a Kener here. What was brought before is left alone until it changes there, and
 * what was deleted here does not come back; nothing is deleted here. Each thing is stored together with the note that it
 * was: an import that was interrupted goes on where it stopped.
 * @returns false when something had to be skipped.
 */
export async function importFromKener(job: Job): Promise<boolean> {
  const tallies: Tallies = { monitors: {}, incidents: {}, comments: {} }
  const tags = await importMonitors(job, tallies.monitors)
  await importIncidents(job, tags, tallies)
  for (const [kind, tally] of Object.entries(tallies)) job.progress.tell(`${kind}: ${describe(tally)}`)
  if (job.dryRun) job.progress.tell('This was a dry run: nothing was written')
  return Object.values(tallies).every(({ skipped }) => skipped === undefined)
}

function count(tally: Tally, outcome: keyof Tally, more = 1): void {
  if (more > 0) tally[outcome] = (tally[outcome] ?? 0) + more
}

function describe(tally: Tally): string {
  const parts = outcomes.flatMap((outcome) => (tally[outcome] ? [`${tally[outcome]} ${outcome}`] : []))
  return parts.join(', ') || 'none'
}

/** The tags here, by those there. */
type Tags = { find: (tagThere: string) => string | undefined }

/** By id, which is the order in which they were made; but the tags that can stay as they are take theirs first. */
function inOrder(monitors: MonitorThere[]): MonitorThere[] {
  const moves = (item: MonitorThere) => (toTag(item) === item.tag ? 0 : 1)
  return monitors.sort((a, b) => moves(a) - moves(b) || a.id - b.id)
}

async function importMonitors({ db, kener, dryRun, progress }: Job, tally: Tally): Promise<Tags> {
  progress.show(`Asking ${kener.url} for its monitors`)
  const listed = await kener.monitors()
  const known = await readImports(db, kener.url, 'monitor')
  const here = await readTags(db)
  const taken = new Set(here.values())
  const imported = new Map<string, string>()
  for (const [index, item] of inOrder(listed).entries()) {
    progress.show(`monitors: ${index} of ${listed.length}`)
    const before = take(known, item.id)
    const tagHere = before && here.get(before.id)
    if (before && tagHere === undefined) {
      count(tally, 'gone here')
      continue
    }
    if (tagHere !== undefined) imported.set(item.tag, tagHere)
    const from = sourceOf(kener, item)
    if (before?.updated_at === from.updated_at) {
      count(tally, 'unchanged')
      continue
    }
    const tell = (what: string) => {
      progress.tell(`monitor ${item.id} ${quote(item.tag)}: ${what}`)
    }
    const { monitor, notes } = toMonitor(item)
    const { tag } = monitor.settings
    if (tagHere === undefined) {
      const isStored = !taken.has(tag) && (dryRun || (await importMonitor(db, from, monitor)))
      if (!isStored) {
        const isSameTag = tag === item.tag
        tell(
          isSameTag
            ? 'there is one of this tag here already, which is left as it is'
            : `skipped, since its tag would become ${quote(tag)}, which is taken here: change one of the two`,
        )
        count(tally, isSameTag ? 'there already' : 'skipped')
        continue
      }
      taken.add(tag)
      imported.set(item.tag, tag)
    } else if (!dryRun && !(await reimportMonitor(db, from, tagHere, monitor))) {
      count(tally, 'gone here')
      continue
    }
    const outcome = before ? 'changed' : 'new'
    for (const note of notes) tell(note)
    if (dryRun) tell(outcome)
    count(tally, outcome)
  }
  count(tally, 'no longer there', countHere(known))
  return { find: (tag) => imported.get(tag) ?? (taken.has(tag) ? tag : undefined) }
}

async function importIncidents(job: Job, tags: Tags, tallies: Tallies): Promise<void> {
  const { db, kener, progress } = job
  progress.show(`Asking ${kener.url} for its incidents`)
  const { incidents, cutAt } = await kener.incidents()
  for (const start of cutAt) {
    progress.tell(
      `incidents that start at ${describeTime(start)}: skipped are those that Kener does not list, which shows ` +
        'the newest 1000 of them and no more',
    )
    count(tallies.incidents, 'skipped')
  }
  const known = {
    incidents: await readImports(db, kener.url, 'incident'),
    comments: await readImports(db, kener.url, 'comment'),
  }
  for (let index = 0; index < incidents.length; index += atOnce) {
    progress.show(`incidents: ${index} of ${incidents.length}`)
    const batch = incidents.slice(index, index + atOnce)
    const timelines = await Promise.all(
      batch.map(async ({ id }) => (known.incidents.get(id)?.is_here === false ? [] : kener.comments(id))),
    )
    for (const [place, item] of batch.entries()) {
      await importWithComments(job, item, timelines[place], { known, tags, tallies })
    }
  }
  count(tallies.incidents, 'no longer there', countHere(known.incidents))
  count(tallies.comments, 'no longer there', countHere(known.comments))
}

type Context = {
  known: Record<'incidents' | 'comments', Map<number, Imported>>
  tags: Tags
  tallies: Tallies
}

async function importWithComments(
  { db, kener, dryRun, progress }: Job,
  item: ItemThere,
  timeline: ItemThere[] | undefined,
  { known, tags, tallies }: Context,
): Promise<void> {
  const before = take(known.incidents, item.id)
  if (before?.is_here === false) {
    count(tallies.incidents, 'gone here')
    return
  }
  // It was deleted there since it was listed.
  if (!timeline) {
    count(tallies.incidents, 'no longer there')
    return
  }
  const tell = (what: string) => {
    progress.tell(`incident ${item.id} ${quote(item.title)}: ${what}`)
  }
  const from = sourceOf(kener, item)
  const outcome = !before ? 'new' : before.updated_at === from.updated_at ? 'unchanged' : 'changed'
  const { comments, tally, notes } = readTimeline(kener, timeline, known.comments)
  const read = outcome === 'unchanged' ? { notes: [] } : toIncident(item, tags)
  if ('unusable' in read) {
    tell(`skipped, with ${timeline.length} comments: ${read.unusable}`)
    count(tallies.incidents, 'skipped')
    count(tallies.comments, 'skipped', timeline.length)
    return
  }
  const changes = 'value' in read ? { from, ...read.value } : undefined
  const isStored =
    dryRun ||
    (!changes && comments.length === 0) ||
    (await importIncident(db, { id: before?.id, changes, comments }))
  if (!isStored) {
    count(tallies.incidents, 'gone here')
    return
  }
  for (const note of [...read.notes, ...notes]) tell(note)
  if (dryRun && changes) tell(outcome)
  if (dryRun && comments.length > 0) tell(`comments: ${describe(tally)}`)
  count(tallies.incidents, outcome)
  for (const each of outcomes) count(tallies.comments, each, tally[each] ?? 0)
}

/** What of a timeline is to be stored, and what becomes of each comment. */
function readTimeline(kener: Kener, timeline: ItemThere[], known: Map<number, Imported>) {
  const comments: CommentImport[] = []
  const notes: string[] = []
  const tally: Tally = {}
  for (const item of timeline) {
    const before = take(known, item.id)
    const from = sourceOf(kener, item)
    if (before?.is_here === false) {
      count(tally, 'gone here')
    } else if (before?.updated_at === from.updated_at) {
      count(tally, 'unchanged')
    } else {
      const read = toComment(item)
      if ('unusable' in read) {
        notes.push(`comment ${item.id} is skipped: ${read.unusable}`)
        count(tally, 'skipped')
      } else {
        comments.push({ id: before?.id, from, ...read.value })
        notes.push(...read.notes.map((note) => `comment ${item.id}: ${note}`))
        count(tally, before ? 'changed' : 'new')
      }
    }
  }
  return { comments, tally, notes }
}

/** What remains of those that are known is what was not met. */
function take(known: Map<number, Imported>, id: number): Imported | undefined {
  const imported = known.get(id)
  known.delete(id)
  return imported
}

function countHere(known: Map<number, Imported>): number {
  return [...known.values()].filter(({ is_here }) => is_here).length
}

/** What does not say when it was changed is known by what it says. */
function sourceOf({ url }: Kener, item: ItemThere): Source {
  const { updated_at: said } = item
  const isSaid = typeof said === 'string' && said !== '' && isStorable(said)
  return {
    source: url,
    source_id: item.id,
    updated_at: isSaid ? said : hash('sha256', JSON.stringify(item)),
  }
}

// What things of Kener's are here. `notes` say what could not be taken as it was, each for the end of a sentence.

type Read<Value> = { value: Value; notes: string[] } | { unusable: string }

function toMonitor(item: MonitorThere) {
  const notes: string[] = []
  const said = toStorable(item, notes)
  const tag = toTag(said)
  if (tag !== said.tag) notes.push(`its tag becomes ${quote(tag)}`)
  const name = typeof said.name === 'string' ? said.name.trim() : null
  // No default is one of ours, too.
  const body: Record<string, unknown> = {
    ...said,
    tag,
    name,
    default_status: said.default_status ?? 'NO_DATA',
  }
  const instead: Record<string, unknown> = { name: tag, default_status: 'NO_DATA' }
  const mended = new Set<string>()
  for (const { keyword, instancePath, params } of findErrors(CreateMonitor, body)) {
    const field = instancePath.slice(1)
    if (mended.has(field)) continue
    mended.add(field)
    const value = body[field]
    if (keyword === 'maxLength' && cuttable.has(field)) {
      body[field] = cut(String(value), Number(params.limit), field, notes)
    } else {
      body[field] = instead[field] ?? null
      notes.push(`its ${field} ${quote(value)} is none that can be here: it becomes ${quote(body[field])}`)
    }
  }
  return { monitor: toNewMonitor(body as Static<typeof CreateMonitor>), notes }
}

const cuttable = new Set(['name', 'description', 'category_name'])

function toTag({ id, tag }: MonitorThere): string {
  const characters = tag.toLowerCase().replace(/[^a-z0-9_-]+/g, '-')
  return (
    characters
      .replace(/^[_-]+/, '')
      .slice(0, 255)
      .replace(/[_-]+$/, '') || `monitor-${id}`
  )
}

function toIncident(
  item: ItemThere,
  tags: Tags,
): Read<{ title: string; state: State; startedAt: Date; endedAt: Date | null; monitors: Affected[] }> {
  const notes: string[] = []
  const said = toStorable(item, notes)
  const startedAt = toTime(said.start_date_time)
  if (!startedAt) {
    return { unusable: `it starts at ${quote(said.start_date_time)}, which is no time in seconds since 1970` }
  }
  const value = {
    title: toText(said.title, `Incident ${item.id}`, 255, 'title', notes),
    state: toState(said.state, notes),
    startedAt,
    endedAt: toEnd(said.end_date_time, startedAt, notes),
    monitors: toMonitors(said.monitors, tags, notes),
  }
  return { value, notes }
}

function toComment(item: ItemThere): Read<Pick<CommentImport, 'comment' | 'state' | 'at'>> {
  const notes: string[] = []
  const said = toStorable(item, notes)
  const at = toTime(said.timestamp)
  if (!at) return { unusable: `its time is ${quote(said.timestamp)}, which is none in seconds since 1970` }
  const value = {
    comment: toText(said.comment, '(no text)', 10_000, 'text', notes),
    state: toState(said.state, notes),
    at,
  }
  return { value, notes }
}

/** PostgreSQL stores some characters nowhere. */
function toStorable<Item extends ItemThere>(item: Item, notes: string[]): Item {
  let replaced = 0
  const storable = JSON.parse(JSON.stringify(item), (_name, value: unknown) => {
    if (typeof value !== 'string' || isStorable(value)) return value
    replaced++
    return value.replaceAll('\0', '\ufffd').toWellFormed()
  }) as Item
  if (replaced > 0) notes.push('characters that cannot be stored become \ufffd')
  return storable
}

function toTime(seconds: unknown): Date | undefined {
  return typeof seconds === 'number' && seconds >= 0 && seconds <= secondsMax
    ? new Date(Math.floor(seconds) * 1000)
    : undefined
}

function describeTime(seconds: number): string {
  const time = toTime(seconds)
  return time ? formatTime(time) : String(seconds)
}

/** Kener takes 0 for none. */
function toEnd(said: unknown, startedAt: Date, notes: string[]): Date | null {
  if (said === 0 || said == null) return null
  const end = toTime(said)
  if (end && end >= startedAt) return end
  if (end) {
    notes.push(`its end, ${formatTime(end)}, is before its start: it ends when it starts`)
    return startedAt
  }
  notes.push(`its end ${quote(said)} is no time in seconds since 1970: it has none here`)
  return null
}

function toText(said: unknown, instead: string, max: number, field: string, notes: string[]): string {
  const text = typeof said === 'string' ? said.trim() : ''
  if (text === '') notes.push(`its ${field} is empty: it becomes ${quote(instead)}`)
  return cut(text || instead, max, field, notes)
}

function cut(text: string, max: number, field: string, notes: string[]): string {
  const characters = Array.from(text)
  if (characters.length <= max) return text
  notes.push(`its ${field} of ${characters.length} characters is cut to ${max}`)
  return characters.slice(0, max).join('')
}

function toState(said: unknown, notes: string[]): State {
  const known = states.find((state) => state === said)
  if (!known) notes.push(`its state ${quote(said)} is none that can be here: it becomes INVESTIGATING`)
  return known ?? 'INVESTIGATING'
}

function toMonitors(said: unknown, tags: Tags, notes: string[]): Affected[] {
  const worst = new Map<string, Affected>()
  for (const { monitor_tag: tagThere, impact } of toAffected(readMonitors(said, notes), 'DOWN')) {
    const tag = tags.find(tagThere)
    if (tag === undefined) {
      notes.push(`the monitor ${quote(tagThere)} that it names is not here: it is left out`)
      continue
    }
    const other = worst.get(tag)
    if (other && other.impact !== impact)
      notes.push(`names ${quote(tagThere)} twice: the worse impact counts`)
    if (!other || fromWorst.indexOf(impact) < fromWorst.indexOf(other.impact)) {
      worst.set(tag, { monitor_tag: tag, impact })
    }
  }
  return [...worst.values()]
}

function readMonitors(said: unknown, notes: string[]) {
  return (Array.isArray(said) ? (said as unknown[]) : []).flatMap((entry) => {
    const { monitor_tag: tag, impact } = (entry ?? {}) as Record<string, unknown>
    if (typeof tag !== 'string') {
      notes.push(`${quote(entry)} names no monitor: it is left out`)
      return []
    }
    const known = [...impacts, 'UP' as const, '' as const].find((each) => each === (impact ?? ''))
    if (known !== undefined) return [{ monitor_tag: tag, impact: known }]
    const nearest = impact === 'NONE' || impact === 'NO_DATA' ? ('UP' as const) : ('DOWN' as const)
    notes.push(`its impact ${quote(impact)} on ${quote(tag)} is none that can be here: it becomes ${nearest}`)
    return [{ monitor_tag: tag, impact: nearest }]
  })
}
