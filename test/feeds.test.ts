import ICAL from 'ical.js'
import Parser from 'rss-parser'
import { SaxesParser } from 'saxes'
import t, { type Test } from 'tap'
import { newKey, type Replica, shareReplica } from './helper.ts'

const fresh = shareReplica(t)

const get = async ({ app }: Replica, url: string, headers: Record<string, string> = {}) =>
  app.inject({ url, headers: { host: 'status.example.com', ...headers } })

/** Contains what XML, HTML and iCalendar treat specially, and characters that XML does not allow. */
const nasty = 'a ]]> ]]> <script>x</script> &amp; "q" \\n;, \u0001\u001f é😀'
const nastyInXml = 'a ]]> ]]> <script>x</script> &amp; "q" \\n;, é😀'

/** Throws if the text is not well-formed XML. */
function assertWellFormed(xml: string): void {
  const parser = new SaxesParser({ xmlns: true })
  parser.on('error', (error) => {
    throw error
  })
  parser.write(xml).close()
}

type Item = { title: string; link: string; id?: string; guid?: string; content: string; isoDate: string }

async function readFeed(replica: Replica, t: Test, url: string): Promise<{ title: string; items: Item[] }> {
  const { statusCode, headers, body } = await get(replica, url)
  t.equal(statusCode, 200, url)
  t.match(headers['content-type'], /^application\/(atom|rss)\+xml; charset=utf-8$/)
  assertWellFormed(body)
  return (await new Parser().parseString(body)) as unknown as { title: string; items: Item[] }
}

const ids = (items: Item[]) => items.map(({ id, guid }) => id ?? guid)

async function create(replica: Replica) {
  const { token } = await newKey(replica)
  const post = async (path: string, body: object) => {
    const reply = await replica.call(token, `POST /api/${path}`, body)
    if (reply.statusCode !== 201) throw new Error(reply.body)
    return reply.json.data.id as number
  }
  const patch = (path: string, body: object) => replica.call(token, `PATCH /api/${path}`, body)
  await post('monitors', { tag: 'website', name: `Website ${nasty}` })
  return { post, patch, token }
}
const monitors = [{ monitor_tag: 'website', impact: 'DOWN' }]
const later = { starts_at: '2999-01-01T00:00:00Z', duration_seconds: 3_600 }

await t.test('the feeds have one entry per incident and maintenance, which keeps its id', async (t) => {
  const replica = await fresh()
  const { post, patch } = await create(replica)
  for (const url of ['/feed.atom', '/rss.xml'])
    t.same((await readFeed(replica, t, url)).items, [], 'an empty feed')

  await post('incidents', { title: nasty, monitors, comment: `first ${nasty}\nline <2>` })
  await post('maintenances', { title: 'Upgrade', ...later, rrule: 'FREQ=HOURLY;COUNT=5' })
  const incident = 'http://status.example.com/incidents/1'
  const maintenance = 'http://status.example.com/maintenances/1'
  for (const url of ['/feed.atom', '/rss.xml']) {
    const { items } = await readFeed(replica, t, url)
    t.same(ids(items), [maintenance, incident], 'the latest update first')
    const [, entry] = items
    t.equal(entry?.title.trim(), nastyInXml)
    t.equal(entry?.link, incident)
    t.match(entry?.content, 'line &lt;2>', 'texts are escaped in HTML')
    t.notMatch(entry?.content, '<script>')
  }

  const before = await get(replica, '/feed.atom')
  await post('incidents/1/comments', { comment: 'second', state: 'MONITORING' })
  for (const url of ['/feed.atom', '/rss.xml']) {
    const { items } = await readFeed(replica, t, url)
    t.same(ids(items), [incident, maintenance], 'a comment updates the entry')
    t.match(items[0]?.content, /second[^]*first/)
  }
  const after = await get(replica, '/feed.atom')
  t.not(after.headers.etag, before.headers.etag)
  await patch('incidents/1/comments/2', { comment: 'edited' })
  t.match((await readFeed(replica, t, '/feed.atom')).items[0]?.content, /edited/)
  t.equal((await get(replica, '/feed.atom')).body, (await get(replica, '/feed.atom')).body)
})

await t.test('a feed has the 50 entries that were updated last', async (t) => {
  const replica = await fresh()
  await replica.db
    .insertInto('incidents')
    .values(
      Array.from({ length: 60 }, (_, index) => ({
        title: `incident ${index}`,
        state: 'RESOLVED' as const,
        started_at: new Date(Date.UTC(2026, 0, 1, 0, index)),
        ended_at: new Date(Date.UTC(2026, 0, 2)),
        updated_at: new Date(Date.UTC(2026, 0, 2, 0, index)),
      })),
    )
    .execute()
  // A write of this replica ends the reuse of the previous test's text.
  await create(replica)
  const { items } = await readFeed(replica, t, '/feed.atom')
  t.equal(items.length, 50)
  t.equal(items[0]?.title, 'incident 59')
  t.ok((await get(replica, '/rss.xml', { 'accept-encoding': 'br' })).headers['content-encoding'])
})

await t.test('links start with the address of the request, which no other request sees', async (t) => {
  const replica = await fresh()
  await (await create(replica)).post('incidents', { title: 'T' })
  const link = async (host: string) => {
    const { body } = await get(replica, '/feed.atom', { host })
    return /<id>([^<]+\/incidents\/1)<\/id>/.exec(body)?.[1]
  }
  t.equal(await link('evil.example'), 'http://evil.example/incidents/1')
  t.equal(await link('Status.Example.com:80'), 'http://status.example.com/incidents/1')
  t.equal(await link('[::1]:3000'), 'http://[::1]:3000/incidents/1')
  for (const host of ['a"b', 'a/b', 'a b', 'a<b>', 'a?b', 'user@a', 'a:99999', 'x'.repeat(300)]) {
    const reply = await get(replica, '/feed.atom', { host, 'x-forwarded-host': 'evil.example' })
    t.equal(reply.statusCode, 400, host)
    t.notMatch(reply.body, 'evil')
  }
})

await t.test('the calendar has one event per event of a maintenance, with a stable UID', async (t) => {
  const replica = await fresh()
  const { post, patch } = await create(replica)
  const read = async () => {
    const { statusCode, headers, body } = await get(replica, '/maintenances.ics')
    t.equal(statusCode, 200)
    t.equal(headers['content-type'], 'text/calendar; charset=utf-8')
    t.ok(body.endsWith('END:VCALENDAR\r\n'))
    const lines = body.split('\r\n')
    t.notOk(lines.some((line) => Buffer.byteLength(line) > 75 || /[\0-\x08\x0a-\x1f]/.test(line)))
    return {
      etag: headers.etag,
      body,
      events: new ICAL.Component(ICAL.parse(body))
        .getAllSubcomponents('vevent')
        .map((component) => new ICAL.Event(component)),
    }
  }
  t.same((await read()).events, [])
  const title = `${nasty}\r\nATTENDEE:mailto:x@example.com ${'long '.repeat(20)}`.trim()
  await post('maintenances', { title, description: `first\nsecond\r\nthird; ${nasty}`, ...later, monitors })
  await post('maintenances', {
    title: 'Weekly',
    ...later,
    rrule: 'FREQ=HOURLY;COUNT=3',
    duration_seconds: 60,
  })
  await replica.call((await newKey(replica)).token, 'GET /api/me')

  const { events, body, etag } = await read()
  t.equal(events.length, 2)
  const [first] = events
  t.match(first?.summary, /^a \]\]> .* é😀 ATTENDEE:mailto:x@example.com long/)
  t.match(first?.description, /^first\nsecond\nthird; [^]*\n\nAffects Website/)
  t.equal(first?.uid, 'maintenance-event-1@status.example.com')
  t.equal(first?.startDate.toJSDate().toISOString(), '2999-01-01T00:00:00.000Z')
  t.equal(first?.endDate.toJSDate().toISOString(), '2999-01-01T01:00:00.000Z')
  t.equal(first?.component.getFirstPropertyValue('url'), 'http://status.example.com/maintenances/1')
  t.equal(first?.component.getFirstPropertyValue('status'), 'CONFIRMED')

  await patch('monitors/website', { description: 'A write that changes no event' })
  const again = await read()
  t.equal(again.body, body, 'equal data has the same text')
  t.equal(again.etag, etag)

  await replica.db
    .updateTable('maintenance_events')
    .set({ created_at: new Date(0) })
    .execute()
  t.equal((await patch('maintenances/1/events/1', { state: 'CANCELLED' })).statusCode, 200)
  const cancelled = (await read()).events.find(({ uid }) => uid === first?.uid)
  t.equal(cancelled?.component.getFirstPropertyValue('status'), 'CANCELLED')
  t.ok(Number(cancelled?.sequence) > Number(first?.sequence))
})
