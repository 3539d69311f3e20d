import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { forbiddenMonitor, forbiddenWithoutMonitor } from '../src/errors.ts'
import { assertMonitorsInScope } from '../src/http/permission-guard.ts'
import { newKey, shareReplica } from './helper.ts'
import { logIn, readHidden } from './visitor.ts'

const getReplica = shareReplica(t)
const incidents = '/manage/incidents'

async function start(monitors: Record<string, object> = { website: { name: 'Website' } }) {
  const replica = await getReplica()
  const admin = await newKey(replica, { name: 'boss' })
  const visitor = await logIn(replica.app, admin.token)
  for (const [tag, body] of Object.entries(monitors))
    await replica.call(admin.token, `PUT /api/monitors/${tag}`, body)
  const call = async (route: Parameters<typeof replica.call>[1], body?: object) =>
    (await replica.call(admin.token, route, body)).json?.data
  const open = async (body: object) => String((await call('POST /api/incidents', body)).id)
  const actions = async () =>
    (
      await replica.db
        .selectFrom('audit_events')
        .select('action')
        .where('via', '=', 'panel')
        .orderBy('id')
        .execute()
    )
      .map(({ action }) => action)
      .slice(1)
  return { replica, visitor, call, open, actions }
}

function errorOf({ body }: { body: string }, id: string): string | undefined {
  return new RegExp(`id="${id}-error">([^<]*)</p>`).exec(body)?.[1]
}

await t.test('an incident is previewed, published as previewed, and recorded', async (t) => {
  const { visitor, call, actions } = await start({
    website: { name: 'Web & <b>' },
    wiki: { name: 'Wiki', hidden: true },
  })
  const fields = {
    title: ' Down <i> ',
    comment: 'Line 1\r\n<script>alert(1)</script>',
    state: 'IDENTIFIED',
    started_at: '2026-01-02T03:04',
    'impact:website': 'DOWN',
    'impact:wiki': 'DEGRADED',
  }
  const preview = await visitor.submit(`${incidents}/new`, { ...fields, step: 'preview' })
  t.equal(preview.statusCode, 200)
  const [, article = ''] = /<article[^>]*>(.*?)<\/article>/s.exec(preview.body) ?? []
  t.match(article, 'Down &lt;i>')
  t.match(article, /Web &amp; &lt;b>.*Down/s)
  t.match(article, 'Line 1\n&lt;script>alert(1)&lt;/script>')
  t.match(article, '2 Jan 2026, 03:04 UTC')
  t.notMatch(article, 'Wiki', 'the public does not see hidden monitors')
  t.same(await call('GET /api/incidents'), [], 'a preview stores nothing')

  const hidden = readHidden(preview.body, `${incidents}/new`)
  const back = await visitor.post(`${incidents}/new`, { ...hidden, step: 'edit' })
  t.match(back.body, 'value="Down &lt;i>"')
  t.match(back.body, /name="impact:website">.*?value="DOWN" selected/s)
  t.match(back.body, /name="impact:wiki">.*?value="DEGRADED" selected/s)

  const published = await visitor.post(`${incidents}/new`, { ...hidden, step: 'publish' })
  t.equal(published.statusCode, 303)
  const [{ id, ...stored }] = await call('GET /api/incidents')
  t.match(stored, {
    title: 'Down <i>',
    state: 'IDENTIFIED',
    started_at: '2026-01-02T03:04:00Z',
    monitors: [
      { monitor_tag: 'website', impact: 'DOWN' },
      { monitor_tag: 'wiki', impact: 'DEGRADED' },
    ],
  })
  const page = await visitor.get(String(published.headers.location))
  t.match(page.body, `href="/incidents/${id}">View on the status page</a>`)
  t.match(page.body, /Incident opened/)
  t.match(page.body, '<h1>Down &lt;i></h1>')
  t.match(page.body, 'href="/manage/monitors/website"')
  t.notMatch(page.body, '<script>alert')
  t.same(await actions(), ['incident.created', 'comment.created'])

  const onlyHidden = await visitor.submit(`${incidents}/new`, {
    title: 'x',
    'impact:wiki': 'DOWN',
    state: 'IDENTIFIED',
  })
  t.match(onlyHidden.body, 'The public cannot see this incident')
  const hiddenId = (
    await call('POST /api/incidents', { title: 'x', monitors: [{ monitor_tag: 'wiki', impact: 'DOWN' }] })
  ).id
  t.notMatch((await visitor.get(`${incidents}/${hiddenId}`)).body, 'View on the status page')
  t.match((await visitor.get(`/manage/audit?target=${id}`)).body, `href="${incidents}/${id}"`)
  t.match((await visitor.get(`/manage/audit?type=incident&target=${id}`)).body, `href="${incidents}/${id}"`)
  t.match(
    (await visitor.get(`/manage/audit?type=maintenance&target=${id}`)).body,
    'No audit events match these filters',
    'the id of an incident may also be that of a maintenance',
  )
})

await t.test('an invalid field has its message next to it, and the entered values are kept', async (t) => {
  const { visitor, call } = await start()
  const valid = { title: 'Kept', comment: 'Kept too', state: 'IDENTIFIED', 'impact:website': 'DOWN' }
  for (const [fields, id, message] of [
    [{ ...valid, title: ' ' }, 'title', /Enter a title/],
    [{ ...valid, title: 'x'.repeat(256) }, 'title', /1 to 255/],
    [{ ...valid, comment: 'x'.repeat(10_001) }, 'comment', /at most 10,000/],
    [{ ...valid, state: 'GONE' }, 'state', /from the list/],
    [{ ...valid, started_at: '2026-02-30T10:00' }, 'started-at', /Enter a day and a time/],
    [{ ...valid, 'impact:website': 'UP' }, 'monitors', /from the list/],
    [{ ...valid, 'impact:gone<b>': 'DOWN' }, 'monitors', /no monitor with the tag gone&lt;b>: deselect/],
  ] as const) {
    const reply = await visitor.submit(`${incidents}/new`, { ...fields, step: 'publish' })
    t.equal(reply.statusCode, 400)
    t.match(errorOf(reply, id), message)
    if (fields.title !== ' ') t.match(reply.body, `value="${fields.title}"`)
    t.match(reply.body, `>${fields.comment}</textarea>`)
    if (fields['impact:website'] === 'DOWN') t.match(reply.body, 'value="DOWN" selected')
  }
  t.same(await call('GET /api/incidents'), [])
})

await t.test('updates change the state, and are edited and deleted', async (t) => {
  const { visitor, call, open, actions } = await start()
  const id = await open({ title: 'Slow', monitors: [{ monitor_tag: 'website', impact: 'DEGRADED' }] })
  const path = `${incidents}/${id}`
  const read = () => call(`GET /api/incidents/${id}`)
  t.match((await visitor.get(path)).body, 'No updates yet')

  const empty = await visitor.submit(path, { comment: ' ', state: 'RESOLVED' }, `${path}/comments`)
  t.equal(empty.statusCode, 400)
  t.match(errorOf(empty, 'comment'), 'Enter a text')
  await visitor.submit(path, { comment: 'Found <it>', state: 'IDENTIFIED' }, `${path}/comments`)
  t.match((await visitor.get(path)).body, 'Found &lt;it>')
  await visitor.submit(path, { comment: 'Second', state: '' }, `${path}/comments`)
  t.match(await read(), { state: 'IDENTIFIED', comments: [{ comment: 'Second', state: 'IDENTIFIED' }, {}] })

  t.equal((await visitor.submit(path, {}, `${path}/resolve`)).statusCode, 303)
  t.equal((await read()).state, 'RESOLVED')
  const [newest] = (await read()).comments
  const comment = `${path}/comments/${newest.id}`
  const fields = {
    comment: 'Second, corrected',
    state: 'IDENTIFIED',
    commented_at: newest.timestamp.slice(0, 16),
  }
  t.equal((await visitor.submit(comment, fields)).statusCode, 303)
  t.match(
    await read(),
    {
      state: 'RESOLVED',
      comments: [{ comment: 'Second, corrected', timestamp: newest.timestamp }, {}],
    },
    'a corrected text does not change the state of the incident',
  )
  t.equal(
    errorOf(await visitor.submit(comment, { ...fields, commented_at: 'x' }), 'commented-at'),
    'Enter a day and a time, in UTC',
  )

  t.match((await visitor.get(`${comment}/delete`)).body, 'Second, corrected')
  t.equal((await visitor.submit(`${comment}/delete`, {})).statusCode, 303)
  t.equal((await read()).comments.length, 1)
  t.equal((await visitor.submit(path, {}, `${path}/reopen`)).statusCode, 303)
  t.match(await read(), { state: 'INVESTIGATING', ended_at: null })
  t.match((await visitor.get(`${path}/delete`)).body, 'The incident and its update are lost')
  t.equal((await visitor.submit(`${path}/delete`, {})).statusCode, 303)
  t.equal((await visitor.get(path)).statusCode, 404)
  t.same(await actions(), [
    'incident.updated',
    'comment.created',
    'comment.created',
    'incident.updated',
    'comment.updated',
    'comment.deleted',
    'incident.updated',
    'incident.deleted',
  ])
})

await t.test('a form that is sent twice creates one incident, monitor, maintenance or update', async (t) => {
  const { visitor, call, open, actions } = await start()
  const id = await open({ title: 'Before' })
  const forms: [page: string, action: string, fields: Record<string, string>, created: string][] = [
    [
      `${incidents}/new`,
      `${incidents}/new`,
      { title: 'Once', state: 'IDENTIFIED', step: 'publish' },
      '/api/incidents',
    ],
    [
      '/manage/monitors/new',
      '/manage/monitors/new',
      { tag: 'once', name: 'Once', default_status: 'UP' },
      '/api/monitors',
    ],
    [
      '/manage/maintenances/new',
      '/manage/maintenances/new',
      { title: 'Once', starts_at: '2998-01-01T00:00', repeat: 'once', enabled: 'on', step: 'save' },
      '/api/maintenances',
    ],
    [
      `${incidents}/${id}`,
      `${incidents}/${id}/comments`,
      { comment: 'Once', state: 'RESOLVED' },
      `/api/incidents/${id}`,
    ],
  ]
  for (const [page, action, more, created] of forms) {
    const count = async (): Promise<number> => {
      const data = await call(`GET ${created}`)
      return Number((data.comments ?? data).length)
    }
    const before = await count()
    const hidden = readHidden((await visitor.get(page)).body, action)
    const fields = { ...hidden, duration: '1', duration_unit: '3600', ...more }
    const [first, ...others] = await Promise.all([1, 2, 3].map(() => visitor.post(action, fields)))
    const again = await visitor.post(action, fields)
    for (const reply of [first, ...others, again]) {
      t.equal(reply?.statusCode, 303, action)
      t.equal(reply?.headers.location, first?.headers.location, 'leads to the same page')
    }
    t.equal(await count(), before + 1, `${action} creates one`)
    const changed = await visitor.post(action, { ...fields, title: 'Other', name: 'Other', comment: 'Other' })
    t.match(changed.headers.location, /\?notice=sent-before$/)
    t.match((await visitor.get(String(changed.headers.location))).body, 'This form was sent before')
    t.equal(await count(), before + 1)
    const other = await visitor.submit(
      page,
      { duration: '1', duration_unit: '3600', ...more, tag: 'other' },
      action,
    )
    t.equal(other.statusCode, 303, 'a form that is opened again creates another one')
    t.equal(await count(), before + 2)
  }
  const recorded = (await actions()).filter((action) => action.endsWith('created'))
  t.equal(recorded.length, 8)
})

await t.test('updates and edits are previewed as the public will read them', async (t) => {
  const { visitor, call, open } = await start({
    website: { name: 'Web' },
    wiki: { name: 'Wiki', hidden: true },
  })
  const id = await open({
    title: 'Slow',
    comment: 'First',
    monitors: [
      { monitor_tag: 'website', impact: 'DOWN' },
      { monitor_tag: 'wiki', impact: 'DOWN' },
    ],
  })
  const path = `${incidents}/${id}`
  const before = await call(`GET ${path.replace('/manage', '/api')}`)
  const [first] = before.comments
  const forms: [page: string, action: string, fields: Record<string, string>, shown: RegExp, step: string][] =
    [
      [
        path,
        `${path}/comments`,
        { comment: 'Found <it>', state: 'IDENTIFIED' },
        /Slow.*Identified.*Web.*Found &lt;it>.*First/s,
        'post',
      ],
      [
        `${path}/comments/${first.id}`,
        `${path}/comments/${first.id}`,
        { comment: 'Better', state: 'MONITORING', commented_at: first.timestamp.slice(0, 16) },
        /Slow.*Monitoring.*Web.*Better/s,
        'save',
      ],
      [
        `${path}/edit`,
        `${path}/edit`,
        { title: 'Very slow', started_at: before.started_at.slice(0, 16), 'impact:website': 'DEGRADED' },
        /Very slow.*Investigating.*Web.*Degraded.*First/s,
        'save',
      ],
    ]
  for (const [page, action, fields, shown] of forms) {
    const preview = await visitor.submit(page, { ...fields, step: 'preview' }, action)
    t.equal(preview.statusCode, 200, action)
    const [, article = ''] = /<article[^>]*>(.*?)<\/article>/s.exec(preview.body) ?? []
    t.match(article, shown)
    t.notMatch(article, 'Wiki')
    t.same(await call(`GET /api/incidents/${id}`), before, 'a preview stores nothing')
    const hidden = readHidden(preview.body, action)
    const back = await visitor.post(action, { ...hidden, step: 'edit' })
    t.equal(back.statusCode, 200)
    t.match(back.body, (fields.title ?? fields.comment ?? '').replace('<', '&lt;'))
  }
  for (const [page, action, fields, , step] of forms.reverse()) {
    const preview = await visitor.submit(page, { ...fields, step: 'preview' }, action)
    const saved = await visitor.post(action, { ...readHidden(preview.body, action), step })
    t.equal(saved.statusCode, 303, action)
  }
  t.match(await call(`GET /api/incidents/${id}`), {
    title: 'Very slow',
    state: 'IDENTIFIED',
    comments: [{ comment: 'Found <it>' }, { comment: 'Better' }],
  })
})

await t.test('a form that was opened before another change overwrites nothing', async (t) => {
  const { visitor, call, open } = await start({ website: { name: 'Website' }, api: { name: 'API' } })
  const id = await open({
    title: 'Before',
    started_at: '2026-01-01T00:00:30Z',
    monitors: [{ monitor_tag: 'website', impact: 'DOWN' }],
    comment: 'First',
  })
  const path = `${incidents}/${id}`
  const read = () => call(`GET /api/incidents/${id}`)
  const change = () =>
    call(`PATCH /api/incidents/${id}`, {
      title: 'Theirs <b>',
      ended_at: '2999-01-01T00:00:00Z',
      monitors: [{ monitor_tag: 'api', impact: 'DEGRADED' }],
    })
  const [comment] = (await read()).comments
  const commentPath = `${path}/comments/${comment.id}`
  const forms: [page: string, action: string, fields: Record<string, string>][] = [
    [
      `${path}/edit`,
      `${path}/edit`,
      { title: 'Mine', started_at: '2026-01-01T00:00', 'impact:website': 'DOWN' },
    ],
    [path, `${path}/resolve`, {}],
    [path, `${path}/comments`, { comment: 'Mine', state: 'RESOLVED' }],
    [commentPath, commentPath, { comment: 'Mine', state: 'RESOLVED', commented_at: '2026-01-01T00:00' }],
    [`${commentPath}/delete`, `${commentPath}/delete`, {}],
    [`${path}/delete`, `${path}/delete`, {}],
  ]
  for (const [page, action, fields] of forms) {
    const hidden = readHidden((await visitor.get(page)).body, action)
    await change()
    const before = await read()
    const reply = await visitor.post(action, { ...hidden, ...fields })
    t.equal(reply.statusCode, 412, action)
    t.match(reply.body, 'Nothing was saved, because this incident was changed')
    if (fields.comment) t.match(reply.body, '>Mine</textarea>')
    t.same(await read(), before)
    if (action !== `${path}/edit`) continue
    t.match(reply.body, 'value="Mine"')
    t.equal(errorOf(reply, 'title'), 'Saved: Theirs &lt;b>')
    t.equal(errorOf(reply, 'ended-at'), 'Saved: 2999-01-01 00:00 UTC')
    t.equal(errorOf(reply, 'monitors'), 'Saved: api Degraded')
    t.equal(errorOf(reply, 'started-at'), undefined, 'equal values are not repeated')
    const again = await visitor.post(action, { ...readHidden(reply.body, action), ...fields })
    t.equal(again.statusCode, 303, 'can be saved again')
    t.match(await read(), { title: 'Mine', started_at: '2026-01-01T00:00:30Z', ended_at: null })
    const reversed = await visitor.submit(page, { ...fields, ended_at: '2020-01-01T00:00' })
    t.equal(errorOf(reversed, 'ended-at'), 'The end must not be before the start')
  }
  const hidden = readHidden((await visitor.get(path)).body, `${path}/comments`)
  await change()
  const kept = await visitor.post(`${path}/comments`, { ...hidden, comment: 'Without a state', state: '' })
  t.equal(kept.statusCode, 303, 'an update that keeps the state overwrites nothing')
})

await t.test('the list is filtered and has pages, in a fixed number of statements', async (t) => {
  const { replica, visitor, open } = await start({ website: { name: 'Website' }, api: { name: 'API' } })
  t.match((await visitor.get(incidents)).body, 'No open incidents')
  for (let index = 0; index < 51; index++) await open({ title: `Old ${index}`, state: 'RESOLVED' })
  await open({ title: 'Now <b>', monitors: [{ monitor_tag: 'website', impact: 'DOWN' }] })
  const list = async (query: string) => (await visitor.get(`${incidents}?${query}`)).body
  const first = await list('')
  t.match(first, 'Now &lt;b>')
  t.notMatch(first, 'Old')
  t.match(await list('view=all&monitor=website'), 'Now &lt;b>')
  t.match(await list('view=all&monitor=api'), 'No incidents match these filters')
  t.match(await list('view=all&q=NOW'), 'Now &lt;b>')
  const resolved = await list('view=resolved')
  t.equal(resolved.match(/>Old /g)?.length, 50)
  const [, next = ''] = /href="([^"]*cursor[^"]*)">Older/.exec(resolved) ?? []
  t.equal((await visitor.get(next.replaceAll('&amp;', '&'))).body.match(/>Old /g)?.length, 1)
  replica.statements.length = 0
  await list('view=all')
  t.equal(replica.statements.length, 2, 'the session and the incidents')
})

await t.test('of many monitors, the form lists some, and finds the others', async (t) => {
  const { replica, visitor, open } = await start({})
  await replica.db
    .insertInto('monitors')
    .values(
      Array.from({ length: 150 }, (_, index) => ({
        tag: `m-${1000 + index}`,
        name: `Name ${index}`,
        enabled: true,
        hidden: false,
        default_status: 'NO_DATA' as const,
        degraded_counts_as_down: false,
      })),
    )
    .execute()
  const id = await open({ title: 'Many', monitors: [{ monitor_tag: 'm-1149', impact: 'DOWN' }] })
  const listed = ({ body }: { body: string }) => body.match(/name="impact:/g)?.length
  const page = await visitor.get(`${incidents}/${id}/edit`)
  t.equal(listed(page), 101, 'the selected one and 100 others')
  t.match(page.body, 'More monitors match than are listed')
  replica.statements.length = 0
  await visitor.get(`${incidents}/new`)
  t.equal(replica.statements.length, 2, 'the session and the monitors')
  const fields = {
    title: 'Entered',
    state: 'MONITORING',
    'impact:m-1149': 'DOWN',
    search: 'NAME 12',
    searched: '',
  }
  for (const step of ['search', 'preview']) {
    const found = await visitor.submit(`${incidents}/new`, { ...fields, step })
    t.equal(listed(found), 12, 'the selected one, 12 and 120 to 129, also if Enter was pressed in the search')
    t.match(found.body, 'value="Entered"')
    t.match(found.body, /name="impact:m-1149">.*?value="DOWN" selected/s)
    t.match(found.body, 'value="MONITORING" selected')
  }
  const searched = { ...fields, searched: 'NAME 12', step: 'preview' }
  t.match((await visitor.submit(`${incidents}/new`, searched)).body, '<h1>Preview</h1>')
  t.match(
    (await visitor.submit(`${incidents}/new`, { search: 'none such', searched: '' })).body,
    'No monitors match',
  )
})

await t.test('a monitor whose impact is UP stays as it is', async (t: Test) => {
  const { replica, visitor, open, call } = await start()
  const id = await open({ title: 'Up', monitors: [{ monitor_tag: 'website', impact: 'DOWN' }] })
  await replica.db.updateTable('incident_monitors').set({ impact: 'UP' }).execute()
  const path = `${incidents}/${id}/edit`
  const { body } = await visitor.get(path)
  t.match(body, 'value="UP" selected')
  const [, started_at = ''] = /name="started_at"[^>]*value="([^"]*)"/.exec(body) ?? []
  t.equal((await visitor.submit(path, { title: 'Up', started_at, 'impact:website': 'UP' })).statusCode, 303)
  t.equal(
    (await replica.db.selectFrom('incident_monitors').select('impact').executeTakeFirst())?.impact,
    'UP',
  )
  t.equal((await call(`GET /api/incidents/${id}`)).title, 'Up')
})

await t.test('a form of a key that is bound to monitors names some of them, and no others', async (t) => {
  const toRequest = (monitors: string[] | null) =>
    ({
      principal: { monitors },
      routeOptions: { config: { permission: 'write:incidents' } },
    }) as unknown as FastifyRequest
  const bound = toRequest(['web-*'])
  t.throws(
    () => {
      assertMonitorsInScope(bound, ['web-1', 'api'])
    },
    forbiddenMonitor('api', 'write:incidents'),
  )
  t.throws(() => {
    assertMonitorsInScope(bound, [])
  }, forbiddenWithoutMonitor('write:incidents'))
  assertMonitorsInScope(bound, ['web-1'])
  assertMonitorsInScope(toRequest(null), ['api'])
})
