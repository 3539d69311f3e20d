import t, { type Test } from 'tap'
import { assertAccessible, assertFits, closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'

const hour = 3_600_000
const iso = (time: number) => new Date(time).toISOString()

/** Starts a replica with monitors of every status, incidents and maintenances, and very long texts. */
async function start(t: Test) {
  const replica = await startReplica(t)
  const { call, app } = replica
  const baseURL = await app.listen({ host: '127.0.0.1', port: 0 })
  const { token: key } = await newKey(replica)
  const post = async (path: string, body: object) => {
    const { statusCode, json, body: text } = await call(key, `POST ${path}`, body)
    if (statusCode !== 201 && statusCode !== 200) throw new Error(text)
    return json.data as { id: number }
  }
  const long = 'x'.repeat(250)
  const monitors = [
    { tag: 'website', name: 'Website', description: `${long} ${'words '.repeat(50)}` },
    { tag: 'api', name: 'API', category_name: 'Core', external_url: 'https://example.com' },
    { tag: 'search', name: 'Search', category_name: 'Core' },
    { tag: 'silent', name: 'Silent', category_name: long },
    { tag: 'long', name: long, category_name: long },
    { tag: 'moved', name: 'Moved', category_name: 'Core' },
  ]
  for (const monitor of monitors) await post('/api/monitors', monitor)
  const today = Date.now() - (Date.now() % (24 * hour))
  const fill = (daysAgo: number, hours: number, status: string) =>
    call(key, 'PUT /api/monitors/api/data', {
      from: iso(today - daysAgo * 24 * hour),
      to: iso(today - daysAgo * 24 * hour + hours * hour),
      status,
    })
  await fill(50, 50 * 24, 'UP')
  await fill(40, 1, 'DOWN')
  await fill(30, 10, 'DOWN')
  await fill(20, 10, 'MAINTENANCE')
  for (const [tag, status] of Object.entries({
    website: 'UP',
    api: 'DOWN',
    search: 'DEGRADED',
    moved: 'MAINTENANCE',
    long: 'UP',
  }))
    await post(`/api/monitors/${tag}/data`, { status })
  const impact = (...tags: string[]) => tags.map((monitor_tag) => ({ monitor_tag, impact: 'DOWN' }))
  const incident = await post('/api/incidents', {
    title: `Errors ${long.slice(10)}`,
    monitors: impact('api', 'long'),
    comment: `${long}\n\n${long}`,
  })
  await post(`/api/incidents/${incident.id}/comments`, { comment: 'Found', state: 'IDENTIFIED' })
  await post('/api/incidents', { title: 'About none', state: 'RESOLVED' })
  const planned = { title: 'Upgrade', description: long, monitors: [{ monitor_tag: 'search' }] }
  const maintenance = await post('/api/maintenances', {
    ...planned,
    starts_at: iso(Date.now() - 26 * hour),
    rrule: 'FREQ=DAILY',
    duration_seconds: 10_800,
  })
  const later = await post('/api/maintenances', {
    ...planned,
    starts_at: iso(Date.now() + 30 * hour),
    duration_seconds: 3_600,
  })
  const paths = ['/', '/incidents', `/incidents/${incident.id}`, `/incidents/99`]
  return {
    ...replica,
    baseURL,
    paths: [...paths, `/maintenances/${maintenance.id}`, `/maintenances/${later.id}`],
  }
}

await t.test('axe finds no violations, and no page scrolls horizontally', { skip }, async (t) => {
  const { baseURL, paths, db } = await start(t)
  const check = async (paths: string[]) => {
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [1280, 360]) {
        for (const javaScriptEnabled of [true, false]) {
          const viewport = { width, height: 800 }
          const page = await openPage(t, { baseURL, colorScheme, viewport, javaScriptEnabled })
          for (const path of paths) {
            await page.goto(path)
            const name = `${path}, ${colorScheme}, ${width} px, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`
            await assertFits(t, page, name)
            if (javaScriptEnabled) await assertAccessible(t, page, name)
          }
          await page.context().close()
        }
      }
    }
  }
  await check(paths)
  for (const table of ['monitors', 'incidents', 'maintenances'] as const) await db.deleteFrom(table).execute()
  await check(['/', '/incidents'])
})

await t.test('days are told apart by their shape, and each has a title', { skip }, async (t) => {
  const { baseURL } = await start(t)
  const page = await openPage(t, { baseURL })
  await page.goto('/')
  const bars = page.getByRole('listitem').filter({ hasText: 'API' }).getByRole('img')
  t.match(await bars.getAttribute('aria-label'), /of \d\d days with data below 100% uptime/)
  const days = bars.locator('i')
  t.equal(await days.count(), 90)
  const heights = []
  for (const selector of ['.none', 'i:not([class])', '.degraded', '.down']) {
    heights.push((await bars.locator(selector).first().boundingBox())?.height)
  }
  t.same(
    heights,
    [...new Set(heights)].sort((a = 0, b = 0) => a - b),
    'each is higher than the one before',
  )
  const background = await bars
    .locator('.maintenance')
    .evaluate((element) => getComputedStyle(element).backgroundImage)
  t.match(background, 'gradient', 'maintenance has a pattern')
  for (const title of await days.evaluateAll((all) => all.map((day) => day.getAttribute('title') ?? '')))
    t.match(title, /^\d{1,2} \w{3,4} \d{4}: (no data|[\d.]+% uptime)/)
})

await t.test('times are local and relative with JavaScript, and UTC without', { skip }, async (t) => {
  const { baseURL, paths } = await start(t)
  const [, , incident = ''] = paths
  const timezoneId = 'Asia/Tokyo'
  const page = await openPage(t, { baseURL, timezoneId })
  await page.clock.install()
  await page.goto(incident)
  const moment = page.locator('.moment').last()
  await page.waitForFunction(() => document.querySelector('time + time')?.textContent.includes('GMT+9'))
  t.match(await moment.innerText(), /^(just now|1 minute ago) \d+ \w+ \d{4}, \d\d:\d\d GMT\+9$/)
  await page.clock.fastForward('03:00:00')
  t.match(await moment.innerText(), /^3 hours ago/)
  const plain = await openPage(t, { baseURL, timezoneId, javaScriptEnabled: false })
  await plain.goto(incident)
  t.match(await plain.locator('.moment').last().innerText(), /, \d\d:\d\d UTC$/)
})

await t.test(
  'everything is reached by links, and categories open without JavaScript',
  { skip },
  async (t) => {
    const { baseURL } = await start(t)
    const page = await openPage(t, { baseURL, javaScriptEnabled: false })
    const requests = new Set<string>()
    page.on('request', (request) => requests.add(new URL(request.url()).origin))
    await page.goto('/')
    t.match(await page.getByRole('heading', { level: 1 }).innerText(), /are down/)
    const core = page.locator('details', { has: page.getByRole('heading', { name: 'Core' }) })
    await core.locator('summary').click()
    t.equal(await core.getByRole('listitem').first().isVisible(), false)
    await core.locator('summary').click()
    t.equal(await core.getByRole('listitem').first().isVisible(), true)
    await page.getByRole('link', { name: /^Errors/ }).click()
    t.match(await page.getByRole('list').last().innerText(), /Identified[^]*Found[^]*Investigating/)
    await page.getByRole('link', { name: 'Incidents' }).first().click()
    await page.getByRole('link', { name: 'About none' }).click()
    t.match(await page.locator('main').innerText(), /Resolved/)
    await page.getByLabel('Main').getByRole('link', { name: 'Status' }).click()
    await page.getByRole('link', { name: 'Upgrade' }).first().click()
    t.match(await page.locator('main').innerText(), /In progress[^]*Later dates/)
    t.same([...requests], [baseURL], 'nothing is loaded from elsewhere')
    t.same(await page.context().cookies(), [])
  },
)

await closeBrowser()
