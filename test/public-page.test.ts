import { sql } from 'kysely'
import t from 'tap'
import { newKey, type Replica, shareReplica, startReplica, times, waitUntil } from './helper.ts'
import { visit } from './visitor.ts'

const share = shareReplica(t)
const browser = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

async function start(replica: Replica) {
  const { token: key } = await newKey(replica)
  const { call, app } = replica
  const visitor = visit(app, { host: 'status.example.com', ...browser })
  const post = async (path: string, body: object) =>
    (await call(key, `POST ${path}`, body)).json.data as { id: number }
  return {
    ...replica,
    key,
    visitor,
    get: (path: string) => visitor.get(path),
    page: async (path = '/') => {
      const { statusCode, body } = await visitor.get(path)
      if (statusCode !== 200) throw new Error(`${path} is ${statusCode}`)
      return body
    },
    monitor: (tag: string, more = {}) => post('/api/monitors', { tag, name: tag, ...more }),
    report: (tag: string, status: string, more = {}) =>
      post(`/api/monitors/${tag}/data`, { status, ...more }),
    incident: (title: string, tags: string[], more = {}) =>
      post('/api/incidents', { title, monitors: impact(tags, 'DOWN'), ...more }),
    maintenance: (title: string, tags: string[], startsIn: number, more = {}) =>
      post('/api/maintenances', {
        title,
        monitors: impact(tags, 'MAINTENANCE'),
        starts_at: iso(Date.now() + startsIn),
        duration_seconds: 7_200,
        ...more,
      }),
  }
}

const impact = (tags: string[], impact: string) => tags.map((monitor_tag) => ({ monitor_tag, impact }))
const iso = (time: number) => new Date(time).toISOString()
const [hour, day] = [3_600_000, 86_400_000]

/** The text of a page, without tags. */
const textOf = (body: string) =>
  body
    .replace(/^.*<main/s, '<main')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')

await t.test('without monitors, the page says what to do next', async (t) => {
  const { page, visitor, statements } = await start(await share())
  const body = await page()
  const text = textOf(body)
  t.match(text, 'No systems are monitored yet.')
  t.match(text, 'curl -X PUT http://localhost:3000/api/monitors/website')
  t.match(body, '<pre tabindex="0" data-origin="http://localhost:3000">', 'the script shows the real address')
  t.match(text, 'No incidents in the last 14 days.')
  t.match(textOf(await page('/incidents')), 'No incidents in this month.')
  statements.length = 0
  for (let count = 0; count < 20; count++) await visitor.get('/', { host: `host-${count}` })
  t.ok(statements.length < 40, `${statements.length} statements: one page for all names of the host`)
})

await t.test('all links start with the path of SITE_URL', async (t) => {
  const replica = await startReplica(t, { config: { siteUrl: 'https://example.com/status' } })
  const { page, monitor, incident, maintenance } = await start(replica)
  t.match(textOf(await page()), 'curl -X PUT https://example.com/status/api/monitors/website')
  await monitor('a')
  const { id } = await incident('Slow', ['a'])
  const { id: maintenanceId } = await maintenance('Upgrade', ['a'], hour)
  for (const path of ['/', '/incidents', `/incidents/${id}`, `/maintenances/${maintenanceId}`]) {
    const body = await page(path)
    const links = [...body.matchAll(/ (?:href|src)="(\/[^"]*)"/g)].map(([, link]) => link)
    t.ok(links.length > 9)
    t.same(
      links.filter((link) => !link?.startsWith('/status/')),
      [],
      path,
    )
  }
})

await t.test(
  'lists show the first 20 systems that an incident affects, and its page all of them',
  async (t) => {
    const { page, monitor, incident } = await start(await share())
    const tags = Array.from({ length: 22 }, (_, index) => `m-${index}`)
    await times(22, (index) => monitor(`m-${index}`))
    const { id } = await incident('Slow', tags)
    for (const [path, count] of [
      ['/', 20],
      ['/incidents', 20],
      [`/incidents/${id}`, 22],
    ] as const) {
      const [, list = ''] = /<ul class="affected"[^>]*>(.*?)<\/ul>/s.exec(await page(path)) ?? []
      t.equal(list.split('<svg').length - 1, count, path)
      t.equal(list.includes('and 2 other systems'), count === 20)
    }
  },
)

await t.test('a page says that there are more incidents than it shows', async (t) => {
  const replica = await share()
  const { page } = await start(replica)
  await sql`
    insert into incidents (title, state, started_at)
    select 'Slow', 'IDENTIFIED', date_trunc('month', now(), 'UTC') from generate_series(1, 200)`.execute(
    replica.db,
  )
  await waitUntil(async () =>
    textOf(await page()).includes('More incidents are open. Only the 50 newest are'),
  )
  t.notMatch(textOf(await page('/incidents')), 'more incidents')
  await sql`insert into incidents (title, state, started_at) select title, state, started_at from incidents limit 1`.execute(
    replica.db,
  )
  await waitUntil(async () =>
    (await page('/incidents')).includes('This month has more incidents. Only the 200 newest'),
  )
})

await t.test('the page has 90 days of each monitor, by category, and says the overall status', async (t) => {
  const { page, monitor, report, call, key, statements } = await start(await share())
  await monitor('api', { name: 'API', category_name: 'Core', description: 'For clients' })
  await monitor('web', { name: 'Website', external_url: 'https://example.com/' })
  const now = Date.now()
  const today = now - (now % day)
  const fill = (tag: string, from: number, to: number, status: string) =>
    call(key, `PUT /api/monitors/${tag}/data`, { from: iso(from), to: iso(to), status })
  await fill('api', today - 89 * day, today, 'UP')
  await fill('api', today - 3 * day, today - 3 * day + 72 * 60_000, 'DOWN')
  await fill('api', today - 5 * day, today - 5 * day + 3 * hour, 'DOWN')
  await fill('api', today - 7 * day, today - 7 * day + hour, 'MAINTENANCE')
  await report('api', 'UP')
  t.match(textOf(await page()), '1 of 2 systems are operational, 1 has no data.')
  await report('web', 'UP')
  const body = await page()
  t.match(textOf(body), 'All systems are operational.')
  const [core = '', other = ''] = body.split('<h3>').slice(1)
  t.match(textOf(core), /Core.*API.*For clients.*99\.80%.*Operational/)
  t.match(other, /^Other systems<.*<a href="https:\/\/example.com\/"[^>]*>Website</s)
  const days = (text: string) => [...text.matchAll(/<i(?: class="([a-z]+)")? title="([^"]+)"><\/i>/g)]
  t.equal(days(core).length, 90)
  const date = (ago: number) =>
    new Date(today - ago * day).toLocaleDateString('en-GB', {
      day: 'numeric',
      month: 'short',
      year: 'numeric',
      timeZone: 'UTC',
    })
  const shown = (ago: number) =>
    days(core)
      .map(([, name, title = '']) => [name, title])
      .find(([, title]) => title?.startsWith(`${date(ago)}: `))
  t.same(shown(3), ['degraded', `${date(3)}: 95.00% uptime, 1 h 12 min down`])
  t.same(shown(5), ['down', `${date(5)}: 87.50% uptime, 3 h down`])
  t.same(shown(7), ['maintenance', `${date(7)}: 100% uptime, 1 h maintenance`])
  t.same(shown(88), [undefined, `${date(88)}: 100% uptime`])
  t.same(days(other).filter(([, name]) => name === 'none').length, 89)
  t.match(core, /aria-label="2 of \d\d days below 100% uptime: [^"]+ 87.50%, [^"]+ 95.00%"/)

  const countStatements = async () => {
    statements.length = 0
    await monitor(`more-${Math.random().toString(36).slice(2)}`)
    const before = statements.length
    await page()
    return statements.length - before
  }
  const few = await countStatements()
  for (let index = 0; index < 20; index++) await monitor(`m-${index}`)
  t.equal(await countStatements(), few, 'as many statements for 20 more monitors')
})

await t.test('the sentence names what is impaired', async (t) => {
  const { page, monitor, report, incident } = await start(await share())
  const sentence = async () => /<h1>([^<]*)<\/h1>/.exec(await page())?.[1]
  for (const name of ['A', 'B', 'C', 'D']) {
    await monitor(name.toLowerCase(), { name })
    await report(name.toLowerCase(), 'UP')
  }
  await report('a', 'DOWN')
  t.equal(await sentence(), 'A is down, and the other 3 systems are operational.')
  await report('b', 'DEGRADED')
  t.equal(await sentence(), 'A is down, B is degraded, and the other 2 systems are operational.')
  await report('b', 'DOWN')
  await report('c', 'MAINTENANCE')
  t.equal(await sentence(), 'A and B are down, C is under maintenance, and the other system is operational.')
  for (const tag of ['c', 'd']) await report(tag, 'DOWN')
  t.equal(await sentence(), 'All systems are down.')
  for (const tag of ['a', 'b', 'c', 'd']) await report(tag, 'UP')
  await incident('About none', [])
  t.equal(await sentence(), 'All systems are operational, but an incident is open.')
})

await t.test('incidents and maintenances are shown with their updates, monitors and times', async (t) => {
  const { page, monitor, incident, maintenance, call, key } = await start(await share())
  await monitor('web', { name: 'Website' })
  const { id } = await incident('Slow', ['web'], { comment: 'We look into it' })
  const update = (comment: string, state: string) =>
    call(key, `POST /api/incidents/${id}/comments`, { comment, state })
  await update('Cause found', 'IDENTIFIED')
  const text = textOf(await page())
  t.match(text, /Open incidents Slow Identified Started (just now|1 minute ago) \d+ \w+ \d{4}, \d\d:\d\d UTC/)
  t.match(
    text,
    /Website Down.*Identified (just now|1 minute ago).*Cause found.*Investigating.*We look into it/,
  )
  for (let index = 0; index < 12; index++) await update(`Step ${index}`, 'MONITORING')
  t.match(textOf(await page()), '4 earlier updates')
  t.match(textOf(await page(`/incidents/${id}`)), /Step 11.*Step 0.*Cause found.*We look into it/)
  await update('Repaired', 'RESOLVED')
  const resolved = textOf(await page())
  t.notMatch(resolved, 'Open incidents')
  t.match(resolved, /Past incidents Slow/)
  t.match(textOf(await page(`/incidents/${id}`)), /Slow Resolved .* for 1 min/)

  const ongoing = await maintenance('Now', ['web'], -hour, { description: 'New disks' })
  await maintenance('Later', ['web'], 40 * day)
  const planned = textOf(await page())
  t.match(planned, /Ongoing maintenance Now In progress Since .*, ends in \d+ minutes .* New disks/)
  t.match(planned, /Upcoming maintenance Later Scheduled Starts in 40 days .*, for 2 h/)
  t.match(planned, 'Website is under maintenance.')
  const weekly = await maintenance('Weekly', [], -8 * day, { rrule: 'FREQ=DAILY;INTERVAL=7' })
  t.match(textOf(await page(`/maintenances/${ongoing.id}`)), /Now In progress Since .* New disks Website/)
  t.match(textOf(await page(`/maintenances/${weekly.id}`)), /Weekly Scheduled Starts in 6 days/)
})

await t.test('incidents are listed by month, with links to the nearest months that have some', async (t) => {
  const { page, get, incident, monitor } = await start(await share())
  await monitor('web')
  const at = (time: string) => ({ started_at: time, ended_at: time, state: 'RESOLVED' })
  await incident('First', ['web'], at('2024-01-31T23:59:59Z'))
  await incident('Second', ['web'], at('2024-02-01T00:00:00Z'))
  await incident('Third', ['web'], at('2024-09-10T00:00:00Z'))
  await incident('Planned', ['web'], { started_at: iso(Date.now() + 400 * day) })
  const february = await page('/incidents?month=2024-02&utm_source=x')
  t.match(textOf(february), /Incidents February 2024 ← January 2024 September 2024 → Second/)
  t.notMatch(february, /First|Third/)
  t.match(await page('/incidents?month=2024-01'), /First.*2024, 23:59 UTC/s)
  const current = textOf(await page('/incidents'))
  t.match(current, /← September 2024 No incidents in this month/)
  t.notMatch(current, '→', 'an incident that has not started is not shown')
  t.equal((await get('/incidents/4')).statusCode, 404)
  for (const month of ['2024-13', '2024', 'x', '']) {
    t.equal((await get(`/incidents?month=${month}`)).statusCode, month === '' ? 200 : 404, month)
  }
  t.equal((await get('/incidents?month=2024-01&month=2024-02')).statusCode, 404)
})

await t.test('every text of a user is escaped', async (t) => {
  const replica = await start(await share())
  const { page, monitor, incident, maintenance, report } = replica
  const text = `"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;`
  await monitor('web', {
    name: text,
    description: text,
    category_name: text,
    external_url: 'https://example.com/"><script>',
  })
  await monitor('js', { name: 'js', external_url: null })
  await sql`update monitors set external_url = 'javascript:alert(1)' where tag = 'js'`.execute(replica.db)
  await report('web', 'DOWN')
  const { id } = await incident(text, ['web'], { comment: text })
  const planned = await maintenance(text, ['web'], -hour, { description: text })
  for (const path of ['/', '/incidents', `/incidents/${id}`, `/maintenances/${planned.id}`]) {
    const body = await page(path)
    t.match(body, '&lt;script>alert(1)', path)
    t.notMatch(body, /<script>|<img|javascript:/, path)
  }
})

await t.test('nothing hidden or disabled is visible, and 404s are identical', async (t) => {
  const { page, get, monitor, report, incident, maintenance, call, key } = await start(await share())
  await monitor('visible')
  await monitor('secret-hidden', { name: 'secret', hidden: true, category_name: 'secret' })
  await monitor('secret-disabled', { name: 'secret', enabled: false })
  await monitor('secret-deleted', { name: 'secret', hidden: true })
  await report('visible', 'UP')
  for (const tag of ['secret-hidden', 'secret-disabled', 'secret-deleted']) await report(tag, 'DOWN')
  const hidden = ['secret-hidden', 'secret-disabled']
  const shown = { incident: 0, maintenance: 0 }
  shown.incident = (await incident('shown', ['visible', ...hidden])).id
  shown.maintenance = (await maintenance('shown', ['visible', ...hidden], hour)).id
  await call(key, `PATCH /api/incidents/${shown.incident}`, { state: 'RESOLVED' })
  const ids = [
    await incident('secret', hidden, { comment: 'secret' }),
    await incident('secret', ['secret-deleted'], { state: 'RESOLVED' }),
  ].map(({ id }) => id)
  await incident('secret', ['secret-hidden'], { started_at: '2024-01-01T00:00:00Z', state: 'RESOLVED' })
  const maintenances = [
    await maintenance('secret', hidden, -hour),
    await maintenance('secret', ['secret-deleted'], hour),
    await maintenance('secret', ['visible'], hour, { enabled: false }),
  ].map(({ id }) => id)
  await call(key, 'DELETE /api/monitors/secret-deleted')

  for (const path of [
    '/',
    '/incidents',
    '/incidents?month=2024-01',
    `/incidents/${shown.incident}`,
    `/maintenances/${shown.maintenance}`,
  ]) {
    t.notMatch(await page(path), 'secret', path)
  }
  const overview = textOf(await page())
  t.match(overview, 'All systems are operational.')
  t.match(overview, '1 system ')
  t.notMatch(overview, 'Open incidents')
  t.match(await page('/incidents'), 'No incidents in other months')

  const pick = ({ statusCode, headers, body }: Awaited<ReturnType<typeof get>>) => ({
    statusCode,
    body,
    headers: { ...headers, 'x-request-id': '', date: '' },
  })
  const paths = { incidents: ids, maintenances }
  for (const [kind, hiddenIds] of Object.entries(paths)) {
    const missing = pick(await get(`/${kind}/2000000000`))
    t.equal(missing.statusCode, 404)
    t.match(missing.body, /<h1>Not Found<\/h1>/)
    for (const id of [...hiddenIds, 0, 2 ** 31, 'x', '1e1'])
      t.same(pick(await get(`/${kind}/${id}`)), missing, `${kind}/${id}`)
    const json = await call(null, `GET /${kind}/${hiddenIds[0] ?? ''}`)
    t.equal(json.json.error.code, 'NOT_FOUND', 'JSON for other clients')
    t.equal(json.body, (await call(null, `GET /${kind}/2000000000`)).body)
  }
})

await t.test('pages are cached, have no cookies, and run no inline script', async (t) => {
  const { get, visitor, monitor, incident, app } = await start(await share())
  await monitor('web')
  const { id } = await incident('Slow', ['web'])
  for (const path of ['/', '/incidents', `/incidents/${id}`]) {
    const { headers, body } = await get(path)
    t.equal(headers['content-type'], 'text/html; charset=utf-8')
    t.equal(headers['cache-control'], 'public, max-age=30')
    t.equal(headers['access-control-allow-origin'], '*')
    t.equal(headers['set-cookie'], undefined)
    const policy = String(headers['content-security-policy'])
    t.match(policy, /default-src 'none';script-src 'self';style-src 'self'/)
    t.notMatch(policy, /unsafe|data:/)
    t.notMatch(body, /<script(?! src=)|<style| style=| on\w+="/)
    const again = await visitor.get(path, { 'if-none-match': String(headers.etag) })
    t.same([again.statusCode, again.body], [304, ''], path)
    for (const alternate of ['/feed.atom', '/rss.xml', '/maintenances.ics'])
      t.match(body, `<link rel="alternate" href="${alternate}"`)
    t.match(body, /<meta name="description" content="[^"]+"/)
  }
  t.equal((await app.inject({ method: 'HEAD', url: '/' })).statusCode, 200)
  t.equal((await app.inject({ method: 'OPTIONS', url: `/incidents/${id}` })).statusCode, 204)
  const encoded = await app.inject({ url: '/', headers: { 'accept-encoding': 'gzip, br' } })
  t.equal(encoded.headers['content-encoding'], 'br')

  const assets = [...(await get('/')).body.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(
    ([, path = '']) => path,
  )
  t.equal(assets.length, 3)
  for (const path of assets) {
    const { statusCode, headers } = await get(path)
    t.same([statusCode, headers['cache-control']], [200, 'public, max-age=31536000, immutable'], path)
  }
})
