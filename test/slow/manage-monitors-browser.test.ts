import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { checkWith, closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'

const viewports = [
  { width: 360, height: 800 },
  { width: 1280, height: 800 },
]

async function start(t: Test) {
  const replica = await startReplica(t)
  const origin = await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const admin = await newKey(replica, { name: 'first-admin' })
  const call = async (route: Parameters<typeof replica.call>[1], body?: object) =>
    (await replica.call(admin.token, route, body)).json?.data
  const logIn = async (page: Page) => {
    await page.goto('/manage')
    await page.getByLabel('API key').fill(admin.token)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
  }
  return { ...replica, call, logIn, origin }
}

/** Longest page without the data of its monitors. */
const maxPageBytes = 100_000

for (const javaScriptEnabled of [true, false]) {
  for (const viewport of viewports) {
    const how = `${javaScriptEnabled ? 'with' : 'without'} JavaScript, ${viewport.width} px`

    await t.test(`a monitor is created, reported, edited and deleted, ${how}`, { skip }, async (t) => {
      const { call, logIn, origin } = await start(t)
      const page = await openPage(t, { baseURL: origin, viewport, javaScriptEnabled })
      const check = async (name: string) => {
        await checkWith(t, page, javaScriptEnabled, how)(name)
        t.ok((await page.content()).length < maxPageBytes, `${name}: the size of the page`)
      }
      await logIn(page)
      await check('empty overview')
      await page.getByRole('link', { name: 'Monitors', exact: true }).click()
      t.match(await page.getByLabel('Or in a terminal').inputValue(), `${origin}/api/monitors/website`)
      await check('empty list')
      await page.getByRole('link', { name: 'Create the first monitor' }).click()
      await page.getByLabel('Tag').fill('My shop')
      await page.getByLabel('Name').fill('Shop')
      await page.getByRole('button', { name: 'Create' }).click()
      await page.getByRole('alert').waitFor()
      await check('rejected form')
      await page.getByLabel('Tag').fill('shop')
      await page.getByLabel('Status without a valid report').selectOption('Down')
      await page.getByRole('button', { name: 'Create' }).click()
      await page.getByText('Monitor created').waitFor()
      t.match(await page.locator('main').innerText(), /Down\s+by default: nothing was reported/)
      await check('new monitor')

      await page.getByLabel('Status now').selectOption('Degraded')
      await page.getByLabel('Latency in ms').fill('250')
      await page.getByRole('button', { name: 'Report' }).click()
      await page.getByText('Status reported').waitFor()
      t.match(await page.locator('main').innerText(), /Degraded\s+reported[^]*Mean 250 ms/)
      await check('monitor with a report')

      await page.getByRole('button', { name: 'Create a heartbeat URL' }).click()
      const url = await page.getByLabel('Reports that Shop is up').inputValue()
      t.match(await page.getByLabel('In crontab').inputValue(), `HEARTBEAT=${url}\n`)
      t.equal((await fetch(url)).status, 200)
      await check('heartbeat URL')
      if (javaScriptEnabled) {
        await page.reload()
        t.notMatch(await page.content(), url)
        t.equal((await fetch(url)).status, 200, 'a reload does not replace the URL')
      } else await page.getByRole('link', { name: 'Done' }).click()
      await page.getByRole('link', { name: 'Replace' }).click()
      await check('replacement of the URL')
      await page.getByRole('button', { name: 'Replace' }).click()
      await page.getByRole('heading', { name: 'Copy the heartbeat URL' }).waitFor()
      t.equal((await fetch(url)).status, 404)
      await page.getByRole('link', { name: 'Done' }).click()

      await page.getByRole('link', { name: 'Edit' }).click()
      await check('edit')
      await call('PATCH /api/monitors/shop', { name: 'Changed meanwhile', description: 'long '.repeat(200) })
      await page.getByLabel('Name').fill('My shop')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Saved: Changed meanwhile').waitFor()
      t.equal(await page.getByLabel('Name').inputValue(), 'My shop')
      await check('conflict')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Changes saved').waitFor()
      await page.getByRole('button', { name: 'Hide' }).click()
      await page.getByText('Monitor hidden').waitFor()
      await page.getByRole('button', { name: 'Disable' }).click()
      await page.getByText('Monitor disabled').waitFor()
      await page.getByRole('button', { name: 'Enable' }).click()

      await page.getByRole('link', { name: 'Delete', exact: true }).click()
      await check('deletion')
      await page.getByRole('button', { name: 'Delete' }).click()
      await page.getByText('Monitor deleted').waitFor()
    })

    await t.test(`the overview leads to each problem, ${how}`, { skip }, async (t) => {
      const { call, logIn, origin } = await start(t)
      const longTag = `${'long-tag-'.repeat(20)}x`
      await call('PUT /api/monitors/shop', { name: 'Shop' })
      await call('PUT /api/monitors/mail', { name: 'Mail', hidden: true, default_status: 'DEGRADED' })
      await call(`PUT /api/monitors/${longTag}`, { name: 'x'.repeat(200), category_name: 'y'.repeat(200) })
      const day = 86_400_000
      const isoDaysAgo = (days: number) => new Date(Date.now() - days * day).toISOString()
      await call('PUT /api/monitors/shop/data', {
        from: isoDaysAgo(80),
        to: isoDaysAgo(0),
        status: 'UP',
        latency_ms: 9,
      })
      await call('PUT /api/monitors/shop/data', {
        from: isoDaysAgo(9),
        to: isoDaysAgo(8),
        status: 'DOWN',
        latency_ms: null,
      })
      const { id } = await call('POST /api/incidents', {
        title: 'Checkout fails',
        monitors: [{ monitor_tag: 'shop', impact: 'DOWN' }],
      })
      await call('POST /api/maintenances', {
        title: 'New database',
        starts_at: isoDaysAgo(0.01),
        duration_seconds: 7_200,
        rrule: 'FREQ=DAILY;COUNT=1',
        monitors: [{ monitor_tag: longTag, impact: 'MAINTENANCE' }],
      })
      await call('POST /api/keys', {
        name: 'expiring',
        permissions: ['write:monitors'],
        expires_at: new Date(Date.now() + day).toISOString(),
      })
      const page = await openPage(t, { baseURL: origin, viewport, javaScriptEnabled })
      const check = checkWith(t, page, javaScriptEnabled, how)
      await logIn(page)
      await check('overview')
      const leadsTo = async (link: string, path: string) => {
        await page.goto('/manage')
        await page.getByRole('main').getByRole('link', { name: link, exact: true }).click()
        await page.waitForURL(`**${path}`)
      }
      await leadsTo('Checkout fails', `/manage/incidents/${id}`)
      await leadsTo('New database', '/manage/maintenances/1')
      await leadsTo('1 Down', '/manage/monitors?status=DOWN')
      await leadsTo('Mail', '/manage/monitors/mail')
      await leadsTo('Shop', '/manage/monitors/shop')
      const bars = page.getByRole('img', { name: /of 81 days with data below 100% uptime|of 80 days/ })
      t.equal(await bars.count(), 1)
      await check('monitor with 90 days')
      await page.goto(`/manage/monitors/${longTag}`)
      await check('monitor with long texts')
      await page.goto('/manage/monitors')
      await check('list')
      await page.goto('/manage/monitors?q=nothing')
      await check('no matches')
      const keys = page.getByRole('region', { name: 'Keys that need attention' })
      await page.goto('/manage')
      t.match(await keys.innerText(), /expiring\s+The key expires at/)
    })
  }
}

await closeBrowser()
