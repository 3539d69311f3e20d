import { Writable } from 'node:stream'
import type { Kysely } from 'kysely'
import type { Tables } from '../src/database/schema.ts'
import { connectToKener } from '../src/kener/import/client.ts'
import { createProgress } from '../src/kener/import/progress.ts'
import { importFromKener } from '../src/kener/import/run.ts'
import { operator } from './helper.ts'
import { type FakeKener, sourceComment, sourceIncident, sourceMonitor } from './fake-kener.ts'

export const command = (kener: { url: string }, ...more: string[]) => [
  'import',
  'kener',
  '--url',
  kener.url,
  ...more,
]

/** Adds two monitors, and an incident with two comments. */
export function fill({ content }: FakeKener): void {
  content.monitors = [
    sourceMonitor(1, 'earth', {
      category_name: 'Planets',
      image: '/earth.png',
      external_url: 'https://example.com',
    }),
    sourceMonitor(2, 'moon', { status: 'INACTIVE', is_hidden: 'YES', include_degraded_in_downtime: 'YES' }),
  ]
  content.incidents = [
    sourceIncident(7, {
      start_date_time: 1_767_225_600,
      end_date_time: 1_767_229_200,
      state: 'RESOLVED',
      monitors: [
        { monitor_tag: 'earth', impact: 'DOWN' },
        { monitor_tag: 'moon', impact: 'UP' },
      ],
    }),
  ]
  content.comments = new Map([
    [
      7,
      [
        sourceComment(12, 7, { comment: 'It is over', state: 'RESOLVED', timestamp: 1_767_229_200 }),
        sourceComment(11, 7, { comment: 'We look into it', timestamp: 1_767_225_660 }),
      ],
    ],
  ])
}

/** Imports within the test's process, and returns what the import prints. */
export async function importInProcess(
  db: Kysely<Tables>,
  { url, key }: { url: string; key: string },
  { dryRun = false } = {},
) {
  let output = ''
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      output += chunk.toString()
      done()
    },
  })
  const wait = () => Promise.resolve()
  const isComplete = await importFromKener({
    ...operator(db, 'import'),
    kener: connectToKener(url, key, { wait }),
    dryRun,
    progress: createProgress(stream),
  })
  if (output.includes(key)) throw new Error('The output contains the key')
  return { isComplete, output }
}

export function withoutLocalFields(row: object): object {
  const localFields = ['id', 'created_at', 'updated_at', 'version']
  return Object.fromEntries(Object.entries(row).filter(([name]) => !localFields.includes(name)))
}

/** Returns everything that an import writes, except local ids, times and versions. */
export async function contentOf(db: Kysely<Tables>) {
  const monitors = await db
    .selectFrom('monitors')
    .leftJoin('kener_monitors', 'monitor_id', 'id')
    .selectAll('monitors')
    .select('fields')
    .orderBy('tag')
    .execute()
  const incidents = await db.selectFrom('incidents').selectAll().orderBy('title').orderBy('id').execute()
  const affected = await db
    .selectFrom('incident_monitors')
    .innerJoin('monitors', 'monitors.id', 'monitor_id')
    .innerJoin('incidents', 'incidents.id', 'incident_id')
    .select(['title', 'tag', 'impact'])
    .orderBy('title')
    .orderBy('tag')
    .execute()
  const comments = await db
    .selectFrom('incident_comments')
    .innerJoin('incidents', 'incidents.id', 'incident_id')
    .select(['title', 'comment', 'incident_comments.state', 'commented_at'])
    .orderBy('title')
    .orderBy('commented_at')
    .orderBy('comment')
    .execute()
  return {
    monitors: monitors.map(withoutLocalFields),
    incidents: incidents.map(withoutLocalFields),
    affected,
    comments,
  }
}
