import t from 'tap'
import { describeSchedule, fromRule, skipsShortMonths, toRule } from '../src/manage/maintenances/rule.ts'
import { once } from '../src/maintenances/schedule.ts'
import { newKey, shareReplica } from './helper.ts'
import { logIn, readHidden } from './visitor.ts'

const getReplica = shareReplica(t)
const maintenances = '/manage/maintenances'

async function start() {
  const replica = await getReplica()
  const admin = await newKey(replica, { name: 'boss' })
  const visitor = await logIn(replica.app, admin.token)
  const call = async (route: Parameters<typeof replica.call>[1], body?: object) =>
    (await replica.call(admin.token, route, body)).json?.data
  await call('PUT /api/monitors/website', { name: 'Web & <b>' })
  await call('PUT /api/monitors/wiki', { name: 'Wiki', hidden: true })
  const plan = async (body: object) =>
    String(
      (
        await call('POST /api/maintenances', {
          title: 'Upgrade',
          starts_at: '2999-01-01T00:00:30Z',
          duration_seconds: 90,
          ...body,
        })
      ).id,
    )
  const actions = async () => {
    const query = replica.db
      .selectFrom('audit_events')
      .select('action')
      .where('via', '=', 'panel')
      .orderBy('id')
    return (await query.execute()).map(({ action }) => action).slice(1)
  }
  return { replica, visitor, call, plan, actions }
}

const sundays = {
  title: 'Backups <i>',
  description: 'Slow\r\n<script>alert(1)</script>',
  starts_at: '2998-12-30T02:00',
  duration: '1.5',
  duration_unit: '3600',
  repeat: 'WEEKLY',
  interval: '2',
  position: '',
  weekday: 'SU',
  'impact:website': 'DEGRADED',
  'impact:wiki': 'DOWN',
}

function errorOf({ body }: { body: string }, id: string): string | undefined {
  return new RegExp(`id="${id}-error">([^<]*)</p>`).exec(body)?.[1]
}

await t.test('a rule in words is previewed with its next five dates, planned and recorded', async (t) => {
  const { visitor, call, actions } = await start()
  const preview = await visitor.submit(`${maintenances}/new`, { ...sundays, step: 'preview' })
  t.equal(preview.statusCode, 200)
  t.match(preview.body, 'Every 2 weeks on Sunday at 02:00 UTC, for 1 h 30 min')
  const [, list = ''] = /<ol class="dates">(.*?)<\/ol>/s.exec(preview.body) ?? []
  t.same(
    Array.from(list.matchAll(/datetime="([^"]*)"/gi), ([, time]) => time).filter(
      (_, index) => index % 2 === 0,
    ),
    ['2998-12-30', '2999-01-13', '2999-01-27', '2999-02-10', '2999-02-24'].map(
      (day) => `${day}T02:00:00.000Z`,
    ),
  )
  const [, article = ''] = /<article[^>]*>(.*?)<\/article>/s.exec(preview.body) ?? []
  t.match(article, /Backups &lt;i>.*Web &amp; &lt;b>.*Degraded.*Slow\n&lt;script>/s)
  t.notMatch(article, 'Wiki', 'the public does not see hidden monitors')
  t.same(await call('GET /api/maintenances'), [], 'a preview stores nothing')

  const hidden = readHidden(preview.body, `${maintenances}/new`)
  const back = await visitor.post(`${maintenances}/new`, { ...hidden, step: 'edit' })
  for (const text of [
    'value="Backups &lt;i>"',
    'value="WEEKLY" selected',
    'value="2998-12-30T02:00"',
    'value="1.5"',
  ])
    t.match(back.body, text)
  const planned = await visitor.post(`${maintenances}/new`, { ...hidden, step: 'save' })
  t.equal(planned.statusCode, 303)
  t.match(await call('GET /api/maintenances'), [
    {
      title: 'Backups <i>',
      description: 'Slow\n<script>alert(1)</script>',
      starts_at: '2998-12-30T02:00:00Z',
      duration_seconds: 5_400,
      rrule: 'FREQ=WEEKLY;INTERVAL=2;BYDAY=SU',
      enabled: true,
      monitors: [
        { monitor_tag: 'website', impact: 'DEGRADED' },
        { monitor_tag: 'wiki', impact: 'DOWN' },
      ],
    },
  ])
  const page = await visitor.get(String(planned.headers.location))
  t.match(page.body, /Maintenance planned.*Backups &lt;i>.*Every 2 weeks on Sunday.*Scheduled/s)
  t.notMatch(page.body, '<script>alert')
  t.match((await visitor.get(maintenances)).body, /Backups &lt;i>.*Every 2 weeks/s)
  t.same(await actions(), ['maintenance.created'])
})

await t.test('an invalid field has its message next to it, and the entered values are kept', async (t) => {
  const { visitor, call } = await start()
  const byRule = { ...sundays, repeat: 'rule' }
  for (const [fields, id, message] of [
    [{ ...sundays, title: ' ' }, 'title', /Enter a title/],
    [{ ...sundays, title: 'x'.repeat(256) }, 'title', /1 to 255/],
    [{ ...sundays, starts_at: '2026-02-30T00:00' }, 'starts-at', /Enter a day and a time/],
    [{ ...sundays, duration: '0' }, 'duration', /1 minute to 365 days/],
    [{ ...sundays, duration: 'x' }, 'duration', /1 minute to 365 days/],
    [{ ...sundays, duration: '366', duration_unit: '86400' }, 'duration', /1 minute to 365 days/],
    [{ ...sundays, interval: '1001' }, 'interval', /from 1 to 1,000/],
    [{ ...sundays, repeat: 'NEVER', interval: '1' }, 'repeat', /Choose how often/],
    [{ ...byRule, rrule: '' }, 'rrule', /The rule must be a list/],
    [{ ...byRule, rrule: 'FREQ=DAILY;BYHOUR=24' }, 'rrule', /The rule must have hours from 0 to 23/],
    [{ ...byRule, rrule: 'FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30' }, 'rrule', /must occur at least once/],
    [{ ...sundays, 'impact:website': 'GONE' }, 'monitors', /from the list/],
    [{ ...sundays, 'impact:gone': 'UP' }, 'monitors', /no monitor with the tag gone/],
  ] as const) {
    const reply = await visitor.submit(`${maintenances}/new`, { ...fields, step: 'save' })
    t.equal(reply.statusCode, 400, id)
    t.match(errorOf(reply, id), message)
    t.match(reply.body, 'Slow\n&lt;script>')
    if (fields.starts_at === sundays.starts_at) t.match(reply.body, `value="${sundays.starts_at}"`)
    if ('rrule' in fields && fields.rrule !== '') t.match(reply.body, `value="${fields.rrule}"`)
  }
  t.same(await call('GET /api/maintenances'), [])
})

await t.test('an edited maintenance keeps what the form does not show', async (t) => {
  const { visitor, call, plan, actions } = await start()
  const rrule = 'FREQ=YEARLY;BYMONTH=1;BYDAY=1SU'
  const id = await plan({ rrule, monitors: [{ monitor_tag: 'website', impact: 'UP' }] })
  const path = `${maintenances}/${id}/edit`
  const { body } = await visitor.get(path)
  for (const text of [
    'value="rule" selected',
    `value="${rrule}"`,
    'value="1.5"',
    'value="UP" selected',
    'checked',
  ])
    t.match(body, text)
  const fields = {
    title: 'Renamed',
    starts_at: '2999-01-01T00:00',
    duration: '1.5',
    duration_unit: '60',
    repeat: 'rule',
    rrule,
    'impact:website': 'UP',
  }
  const preview = await visitor.submit(path, { ...fields, step: 'preview' })
  t.match(preview.body, 'because it is disabled')
  t.equal((await visitor.post(path, { ...readHidden(preview.body, path), step: 'save' })).statusCode, 303)
  t.match(await call(`GET /api/maintenances/${id}`), {
    title: 'Renamed',
    starts_at: '2999-01-01T00:00:30Z',
    duration_seconds: 90,
    rrule,
    enabled: false,
    monitors: [{ monitor_tag: 'website', impact: 'UP' }],
  })
  t.match((await visitor.get(`${maintenances}?view=disabled`)).body, /Renamed.*Disabled/s)
  t.match((await visitor.get(`${maintenances}?view=enabled`)).body, 'No maintenances match these filters')
  t.match((await visitor.get(`${maintenances}/${id}/delete`)).body, 'all its events are lost')
  t.equal((await visitor.submit(`${maintenances}/${id}/delete`, {})).statusCode, 303)
  t.match((await visitor.get(maintenances)).body, 'No maintenances yet')
  t.same(await actions(), ['maintenance.updated', 'maintenance.deleted'])
})

await t.test('a form that was opened before another change overwrites nothing', async (t) => {
  const { visitor, call, plan } = await start()
  const id = await plan({ description: 'Before' })
  const path = `${maintenances}/${id}`
  const read = () => call(`GET /api/maintenances/${id}`)
  const change = (title: string) =>
    call(`PATCH /api/maintenances/${id}`, {
      title,
      rrule: 'FREQ=DAILY',
      duration_seconds: 7_200,
      enabled: false,
    })
  const fields = {
    title: 'Mine',
    description: 'Before',
    starts_at: '2999-01-01T00:00',
    duration: '1.5',
    duration_unit: '60',
    repeat: 'once',
    enabled: 'on',
  }
  const edit = readHidden((await visitor.get(`${path}/edit`)).body, `${path}/edit`)
  const deletion = readHidden((await visitor.get(`${path}/delete`)).body, `${path}/delete`)
  await change('Theirs <b>')
  const before = await read()
  const preview = await visitor.post(`${path}/edit`, { ...edit, ...fields, step: 'preview' })
  const reply = await visitor.post(`${path}/edit`, {
    ...readHidden(preview.body, `${path}/edit`),
    step: 'save',
  })
  t.equal(reply.statusCode, 412)
  t.equal((await visitor.post(`${path}/delete`, deletion)).statusCode, 412)
  t.same(await read(), before)
  t.match(reply.body, 'Nothing was saved, because this maintenance was changed')
  t.match(reply.body, 'value="Mine"')
  t.equal(errorOf(reply, 'title'), 'Saved: Theirs &lt;b>')
  t.equal(errorOf(reply, 'duration'), 'Saved: 2 hours')
  t.equal(errorOf(reply, 'repeat'), 'Saved: Every day')
  t.equal(errorOf(reply, 'description'), undefined, 'equal values are not repeated')
  t.match(reply.body, 'Saved: disabled')
  const again = { ...readHidden(reply.body, `${path}/edit`), ...fields, step: 'save' }
  t.equal((await visitor.post(`${path}/edit`, again)).statusCode, 303, 'can be saved again')
  t.match(await read(), {
    title: 'Mine',
    starts_at: '2999-01-01T00:00:30Z',
    duration_seconds: 90,
    rrule: null,
  })
})

await t.test('one event is moved, unless it was changed meanwhile', async (t) => {
  const { visitor, call, plan, actions } = await start()
  const id = await plan({ rrule: 'FREQ=WEEKLY' })
  const page = `${maintenances}/${id}`
  const events = () => call(`GET /api/maintenances/${id}/events`)
  const [event, ...others] = await events()
  const path = `${page}/events/${event.id}/move`
  t.match((await visitor.get(page)).body, `href="${path}"`)
  const stale = readHidden((await visitor.get(path)).body, path)
  const reversed = await visitor.submit(path, { starts_at: '2999-01-01T00:00', ends_at: '2998-01-01T00:00' })
  t.equal(errorOf(reversed, 'ends-at'), 'The end must be after the start')
  const invalid = await visitor.submit(path, { starts_at: 'x', ends_at: '' })
  t.equal(errorOf(invalid, 'starts-at'), 'Enter a day and a time, in UTC')
  const fields = { starts_at: '2999-01-01T00:00', ends_at: '2999-01-01T03:00' }
  t.equal((await visitor.submit(path, fields)).statusCode, 303)
  t.match(await events(), [
    { starts_at: '2999-01-01T00:00:30Z', ends_at: '2999-01-01T03:00:00Z', state: event.state },
    ...others,
  ])
  const conflict = await visitor.post(path, { ...stale, ...fields, ends_at: '2999-01-01T04:00' })
  t.equal(conflict.statusCode, 412)
  t.equal(errorOf(conflict, 'ends-at'), 'Saved: 2999-01-01 03:00 UTC')
  t.match(conflict.body, 'value="2999-01-01T04:00"')
  t.same(await actions(), ['maintenance_event.updated'])
})

await t.test('an event is cancelled, and an ongoing one is ended, once', async (t) => {
  const { replica, visitor, call, plan, actions } = await start()
  const future = await plan({})
  const starts_at = new Date(Date.now() - 3_600_000).toISOString()
  const ongoing = await plan({ starts_at, duration_seconds: 86_400 })
  for (const [id, action, state] of [
    [future, 'cancel', 'CANCELLED'],
    [ongoing, 'end', 'COMPLETED'],
  ] as const) {
    const page = `${maintenances}/${id}`
    const events = () => call(`GET /api/maintenances/${id}/events`)
    const [event] = await events()
    const path = `${page}/events/${event.id}/${action}`
    t.match((await visitor.get(page)).body, `href="${path}"`)
    t.equal((await visitor.submit(path, {})).statusCode, 303)
    t.match(await events(), [{ state }])
    const { body } = await visitor.get(page)
    t.match(body, /No events.*Ended and cancelled events/s)
    t.notMatch(body, `href="${path}"`)
    const again = await visitor.submit(path, {})
    t.equal(again.statusCode, 409)
    t.match(again.body, 'Nothing was changed, because the state of this event')
  }
  t.same(await actions(), ['maintenance_event.updated', 'maintenance_event.updated'])
  replica.statements.length = 0
  await visitor.get(`${maintenances}/${future}`)
  t.equal(replica.statements.length, 4, 'the session, the maintenance, its events, and whether it is public')
})

await t.test('the form expresses its own rules, and leaves others as they are', (t) => {
  for (const [rrule, words] of [
    [once, 'Once, 31 Jan 2027, 02:00 UTC, for 2 h'],
    ['FREQ=DAILY', 'Every day at 02:00 UTC, for 2 h'],
    ['FREQ=WEEKLY;INTERVAL=2;BYDAY=SU', 'Every 2 weeks on Sunday at 02:00 UTC, for 2 h'],
    ['FREQ=MONTHLY', 'Every month on day 31 at 02:00 UTC, for 2 h'],
    ['FREQ=MONTHLY;INTERVAL=3;BYDAY=-1FR', 'Every 3 months on the last Friday at 02:00 UTC, for 2 h'],
    ['FREQ=WEEKLY', 'By the rule FREQ=WEEKLY from 31 Jan 2027, 02:00 UTC, for 2 h'],
    ['FREQ=DAILY;BYDAY=MO', 'By the rule FREQ=DAILY;BYDAY=MO from 31 Jan 2027, 02:00 UTC, for 2 h'],
    ['FREQ=WEEKLY;BYDAY=XX', 'By the rule FREQ=WEEKLY;BYDAY=XX from 31 Jan 2027, 02:00 UTC, for 2 h'],
  ] as const) {
    t.equal(toRule(fromRule(rrule)), rrule)
    const schedule = { rrule, starts_at: new Date('2027-01-31T02:00:00Z'), duration_seconds: 7_200 }
    t.equal(describeSchedule(schedule), words)
  }
  const skips = (rrule: string, day: string) =>
    skipsShortMonths({ rrule, starts_at: new Date(`2027-01-${day}T02:00:00Z`) })
  t.same(
    [skips('FREQ=MONTHLY', '29'), skips('FREQ=MONTHLY', '28'), skips('FREQ=MONTHLY;BYDAY=1SU', '31')],
    [true, false, false],
  )
  t.equal(toRule({ ...fromRule(once), repeat: 'rule', rrule: 'RRULE:freq=daily' }), 'FREQ=DAILY')
  t.end()
})
