import t from 'tap'
import { auditedTransaction, type Change } from '../src/audit/transaction.ts'
import * as comments from '../src/incidents/comments.ts'
import * as incidents from '../src/incidents/repository.ts'
import { insertKenerMonitor, updateKenerMonitor } from '../src/kener/repository.ts'
import { maxAffectedMonitors, maxDepth } from '../src/limits.ts'
import * as maintenances from '../src/maintenances/repository.ts'
import { affectedByIncident } from '../src/monitors/affected.ts'
import * as monitors from '../src/monitors/repository.ts'
import { newKey, operator, startReplica } from './helper.ts'

const attributes = {
  tag: 'a',
  name: 'a',
  description: null,
  category_name: null,
  external_url: null,
  enabled: true,
  hidden: false,
  default_status: 'UP',
  stale_after_seconds: null,
  degraded_counts_as_down: false,
} as const
const schedule = {
  starts_at: new Date('2027-01-01T00:00:00Z'),
  rrule: 'FREQ=MINUTELY;COUNT=1',
  duration_seconds: 60,
  enabled: true,
}
const long = 'x'.repeat(10_001)
const deep = (levels: number) =>
  JSON.parse(`${'{"a":'.repeat(levels)}0${'}'.repeat(levels)}`) as Record<string, unknown>

await t.test('every text is limited where it is stored, whatever stores it', async (t) => {
  const { db } = await startReplica(t)
  const context = operator(db)
  const change = <Result>(write: (change: Change) => Promise<Result>) => auditedTransaction(context, write)
  const createIncident = (incident: Parameters<typeof incidents.createIncident>[1]) =>
    change((change) => incidents.createIncident(change, incident))
  const readId = (_trx: unknown, id: number) => Promise.resolve(id)

  await change((change) => monitors.createMonitor(change, attributes))
  const incident = await createIncident({ title: 'a' })
  const comment = (await change((change) => comments.createComment(change, incident, { comment: 'a' }, null)))
    .id
  const maintenance = { ...schedule, title: 'a', description: null, monitors: [] }
  const maintenanceId = await maintenances.createMaintenance(context, maintenance, readId)
  const affected = Array.from({ length: maxAffectedMonitors + 1 }, () => ({
    monitor_tag: 'a',
    impact: 'DOWN' as const,
  }))
  const kener = (fields: object) =>
    change((change) => insertKenerMonitor(change, { ...attributes, tag: 'b' }, fields))
  const kenerUpdate = (fields: object) =>
    change((change) => updateKenerMonitor(change, 'a', () => ({ attributes: {}, fields })))
  const writes: [field: string, write: () => Promise<unknown>][] = [
    ...(['tag', 'name', 'description', 'category_name', 'external_url'] as const).flatMap(
      (field): typeof writes => [
        [
          field,
          () =>
            change((change) => monitors.createMonitor(change, { ...attributes, tag: 'b', [field]: long })),
        ],
        [
          field,
          () => change((change) => monitors.putMonitor(change, { ...attributes, tag: 'b', [field]: long })),
        ],
        [field, () => change((change) => monitors.updateMonitor(change, 'a', { [field]: long }))],
      ],
    ),
    ['title', () => createIncident({ title: long })],
    ['title', () => change((change) => incidents.updateIncident(change, incident, { title: long }, null))],
    ['comment', () => createIncident({ title: 'b', comment: long })],
    ['comment', () => change((change) => comments.createComment(change, incident, { comment: long }, null))],
    [
      'comment',
      () => change((change) => comments.updateComment(change, incident, comment, { comment: long }, null)),
    ],
    ...(['title', 'description'] as const).flatMap((field): typeof writes => [
      [field, () => maintenances.createMaintenance(context, { ...maintenance, [field]: long }, readId)],
      [field, () => maintenances.updateMaintenance(context, maintenanceId, { [field]: long }, null, readId)],
    ]),
    [
      'monitors',
      () => change(({ trx }) => affectedByIncident.insert(trx, incident, affected, new Map([['a', 1]]))),
    ],
    ['image', () => kener({ image: 'x'.repeat(65_536) })],
    ['image', () => kenerUpdate({ image: 'x'.repeat(65_536) })],
    ['nested', () => kener({ type_data: deep(maxDepth) })],
    ['nested', () => kenerUpdate({ monitor_settings_json: deep(3_000) })],
  ]
  for (const [index, [field, write]] of writes.entries()) {
    await t.rejects(write(), { status: 400, message: new RegExp(field) }, `${field} (${index})`)
  }
  t.match(await db.selectFrom('monitors').selectAll().execute(), { length: 1 })
  t.match(await db.selectFrom('kener_monitors').selectAll().execute(), { length: 0 })
  t.match(await kener({ type_data: deep(maxDepth - 1), image: '\u{1f30d}'.repeat(30_000) }), { tag: 'b' })
  await change((change) => monitors.updateMonitor(change, 'b', { name: '\u{1f30d}'.repeat(255) }))
})

await t.test('a row that exceeds the limits can be read, changed and deleted', async (t) => {
  const { call, db } = await startReplica(t)
  const key = (await newKey({ db })).token
  await auditedTransaction(operator(db), (change) =>
    monitors.createMonitor(change, { ...attributes, tag: 'large' }),
  )
  const { id } = await monitors.getMonitorId(db, 'large')
  const fields = { image: 'x'.repeat(100_000), type_data: deep(40), monitor_settings_json: { a: 1 } }
  await db
    .insertInto('kener_monitors')
    .values({ monitor_id: id, fields: JSON.stringify(fields) })
    .execute()
  const route = '/api/v4/monitors/large'
  const patch = async (body: object) => (await call(key, `PATCH ${route}`, body)).statusCode
  t.equal((await call(key, `GET ${route}`)).statusCode, 200)
  t.equal((await call(key, 'GET /api/v4/monitors')).statusCode, 200)
  t.equal((await call(key, 'PATCH /api/monitors/large', { name: 'New' })).json.data.name, 'New')
  await db.updateTable('monitors').set({ description: long }).where('tag', '=', 'large').execute()
  t.equal(await patch({ name: 'Newer' }), 200)
  t.equal(await patch({ image: 'x'.repeat(100_001) }), 400, 'a field must not become larger')
  t.equal(await patch({ monitor_settings_json: { a: 12 } }), 200, 'other fields are not limited by it')
  t.equal(await patch({ image: 'x'.repeat(99_000) }), 200, 'it may become smaller')
  t.equal(await patch({ image: null, type_data: null, description: null }), 200)
  t.equal(await patch({ type_data: deep(20) }), 200)
  t.equal((await call(key, `DELETE ${route}`)).statusCode, 200)
})
