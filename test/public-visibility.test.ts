import t, { type Test } from 'tap'
import { newKey, type Replica, startReplica } from './helper.ts'

/** Starts a replica, and collects the GET routes that need no key, so that a new one is tested without a change here. */
async function startCollected(t: Test): Promise<{ replica: Replica; routes: string[] }> {
  const routes = new Set<string>()
  const replica = await startReplica(t, {
    extend: (app) => {
      app.addHook('onRoute', ({ method, url, config }) => {
        const isPublic = config?.permission === 'public' || !/^\/(api|manage|docs|openapi)(\/|\.|$)/.test(url)
        if (method === 'GET' && isPublic) routes.add(url)
      })
    },
  })
  return { replica, routes: [...routes] }
}

/** In all texts about what is not public. */
const marker = /xyzzy/i

/** Values of parameters: the first ones are public, then come hidden ones, and the last does not exist. */
const tags = ['shop', 'xyzzy-hidden', 'xyzzy-disabled', 'xyzzy-deleted', 'unknown']
const publicIds = ['1', '2']
const hiddenIds = ['3', '4', '5', '6', '7', '8']
const ids = [...publicIds, ...hiddenIds, '999999']

/** Returns the URLs of a route, for each value of its parameters. */
function expand(route: string): string[] {
  const values = route.includes(':tag') ? tags : route.includes(':id') ? ids : ['']
  return values.map((value) =>
    route
      .replace(/:(tag|id)\b/, value)
      .replace(/:\w+/g, 'other')
      .replace(/\*$/, 'other'),
  )
}

await t.test('nothing about hidden, disabled and deleted monitors is public', async (t) => {
  const { replica, routes } = await startCollected(t)
  for (const route of [
    '/api/status',
    '/feed.atom',
    '/rss.xml',
    '/maintenances.ics',
    '/badge/:tag/status',
    '/badge/:tag/uptime',
    '/badge/_/status',
    '/api/v2/summary.json',
    '/api/v2/scheduled-maintenances/active.json',
  ])
    t.ok(routes.includes(route), `${route} was collected`)

  const { token } = await newKey(replica)
  const send = async (route: `${'POST' | 'DELETE'} ${string}`, body?: object) => {
    const { statusCode, json, body: text } = await replica.call(token, route, body)
    if (statusCode >= 300) throw new Error(text)
    return json?.data?.id as number
  }
  const createMonitor = async (tag: string, more: object, status: string) => {
    const described = { name: `Name of ${tag}`, description: `Text about ${tag}`, ...more }
    await send('POST /api/monitors', { tag, ...described })
    await send(`POST /api/monitors/${tag}/data`, { status })
  }
  /** Creates an incident and a maintenance with the same id. @returns it */
  const affect = async (text: string, tags: string[], more: object = {}) => {
    const monitors = tags.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' }))
    const incident = { title: `Incident ${text}`, monitors, comment: `Comment ${text}`, ...more }
    const maintenance = {
      title: `Maintenance ${text}`,
      description: `About ${text}`,
      monitors,
      duration_seconds: 7_200,
    }
    const id = await send('POST /api/incidents', incident)
    await send('POST /api/maintenances', { ...maintenance, starts_at: new Date(Date.now() - 3_600_000) })
    return String(id)
  }
  const read = async (url: string) => {
    const { statusCode, headers, body } = await replica.app.inject({
      url,
      headers: { host: 'status.example.com' },
    })
    // Texts contain the time at which they were read.
    const text = body.replace(
      /\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d:\d\d|just now|(in )?\d+ (second|minute)s?( ago)?/g,
      'TIME',
    )
    const { 'x-request-id': id, date, etag, 'content-length': length, ...rest } = headers
    t.notMatch([id, date, etag, length].join(), marker)
    return { url, statusCode, headers: rest, text, all: JSON.stringify(headers) + body }
  }
  const urls = routes.flatMap(expand)
  const readAll = async () => {
    const replies = []
    for (const url of urls) replies.push(await read(url))
    return replies
  }

  await createMonitor('shop', { category_name: 'Retail' }, 'UP')
  await createMonitor('xyzzy-hidden', { category_name: 'Xyzzy category', hidden: true }, 'DOWN')
  t.equal(await affect('of the shop', ['shop', 'xyzzy-hidden']), '1')
  t.equal(await affect('without monitors', []), '2')
  const before = await readAll()

  await createMonitor('xyzzy-disabled', { category_name: 'Xyzzy category', enabled: false }, 'DOWN')
  await createMonitor('xyzzy-deleted', { hidden: true }, 'DOWN')
  const hidden: string[] = []
  for (const tag of ['xyzzy-hidden', 'xyzzy-disabled', 'xyzzy-deleted']) {
    hidden.push(await affect(`open, of ${tag}`, [tag]))
    hidden.push(await affect(`resolved, of ${tag}`, [tag], { state: 'RESOLVED' }))
  }
  t.same(hidden, hiddenIds)
  await send('DELETE /api/monitors/xyzzy-deleted')
  const after = await readAll()

  for (const [index, { url, statusCode, headers, text, all }] of after.entries()) {
    t.notMatch(all, marker, url)
    const { statusCode: status, headers: sent, text: previous } = before[index] ?? { statusCode: 0 }
    t.equal(statusCode, status, url)
    t.same(headers, sent, `${url}: headers`)
    t.equal(text, previous, `${url}: what is not public changes nothing`)
  }

  for (const route of routes.filter((route) => /:(tag|id)/.test(route))) {
    const replies = await Promise.all(expand(route).map(read))
    const answers = (replies: Awaited<ReturnType<typeof read>>[]) =>
      new Set(replies.map(({ statusCode, headers, text }) => JSON.stringify([statusCode, headers, text])))
    const count = route.includes(':tag') ? 1 : publicIds.length
    t.equal(answers(replies.slice(count)).size, 1, `${route}: the same answer for hidden and unknown ones`)
    t.equal(replies.at(-1)?.statusCode, 404, route)
  }
})
