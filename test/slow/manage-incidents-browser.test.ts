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
  for (let index = 0; index < 12; index++)
    await call(`PUT /api/monitors/service-${index}`, { name: `Service ${index}` })
  await call('PUT /api/monitors/checkout', { name: 'Checkout' })
  await call(`PUT /api/monitors/${'long-tag-'.repeat(20)}x`, { name: 'x'.repeat(200), hidden: true })
  const logIn = async (page: Page) => {
    await page.goto('/manage')
    await page.getByLabel('API key').fill(admin.token)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
  }
  return { ...replica, call, logIn, origin }
}

for (const javaScriptEnabled of [true, false]) {
  for (const viewport of viewports) {
    const how = `${javaScriptEnabled ? 'with' : 'without'} JavaScript, ${viewport.width} px`

    await t.test(`an incident is opened, updated and resolved, ${how}`, { skip }, async (t) => {
      const { call, logIn, origin } = await start(t)
      const page = await openPage(t, { baseURL: origin, viewport, javaScriptEnabled })
      const check = checkWith(t, page, javaScriptEnabled, how)
      await logIn(page)
      await page.getByRole('link', { name: 'Incidents', exact: true }).click()
      await page.getByText('No open incidents').waitFor()
      await check('empty list')
      await page.getByRole('link', { name: 'Open an incident' }).click()
      await check('new incident')
      await page.getByLabel('Title').fill('Checkout is slow')
      if (javaScriptEnabled) {
        await page.getByLabel('Name or tag').fill('CHECK')
        t.equal(await page.locator('.monitor-list li:visible').count(), 1)
        await page.getByLabel('Name or tag').press('Enter')
      }
      await page.getByLabel('Checkout').selectOption('Degraded')
      await page.getByLabel('First update').fill('Payments take a minute.\nNext update at 15:00.')
      await page.getByRole('button', { name: 'Preview' }).click()
      const preview = await page.getByRole('article').innerText()
      t.match(preview, /Checkout is slow\s+Investigating[^]*Checkout\s+Degraded[^]*Payments take a minute/)
      await check('preview')
      await page.getByRole('button', { name: 'Back to the form' }).click()
      await page.getByLabel('Title').fill('Checkout is very slow')
      await page.getByLabel('Title').press('Enter')
      await page.getByRole('button', { name: 'Publish' }).click()
      await page.getByText('Incident opened').waitFor()
      await check('incident')

      await page.getByLabel('Text').fill('The cause is found.')
      await page.getByLabel('State').selectOption('Identified')
      await page.getByRole('button', { name: 'Preview' }).click()
      t.match(await page.getByRole('article').innerText(), /Identified[^]*The cause is found/)
      await check('preview of an update')
      await page.getByRole('button', { name: 'Post update' }).click()
      await page.getByText('Update posted').waitFor()
      const newest = page.getByRole('list', { name: 'Updates' }).getByRole('listitem').first()
      await newest.getByRole('link', { name: 'Edit' }).click()
      await check('edit update')
      await page.getByLabel('Text').fill('The cause is known.')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Changes saved').waitFor()
      await newest.getByRole('link', { name: 'Delete' }).click()
      await check('delete update')
      await page.getByRole('button', { name: 'Delete' }).click()
      await page.getByText('Update deleted').waitFor()

      const [{ id }] = await call('GET /api/incidents')
      await page.getByRole('link', { name: 'Edit' }).first().click()
      await page.getByLabel('Title').fill('Mine')
      await call(`PATCH /api/incidents/${id}`, { title: 'Theirs' })
      await page.getByRole('button', { name: 'Save' }).click()
      t.match(await page.getByRole('alert').innerText(), 'Nothing was saved')
      t.equal(await page.getByLabel('Title').inputValue(), 'Mine')
      await page.getByText('Saved: Theirs').waitFor()
      await check('conflict')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByRole('heading', { name: 'Mine' }).waitFor()
      await page.getByRole('button', { name: 'Resolve' }).click()
      await page.getByText('Incident resolved').waitFor()
      await page.getByRole('button', { name: 'Reopen' }).click()
      await page.getByText('Incident reopened').waitFor()
      t.match((await call('GET /api/incidents'))[0], {
        title: 'Mine',
        state: 'INVESTIGATING',
        ended_at: null,
      })
      await page.getByRole('link', { name: 'Incidents', exact: true }).first().click()
      await check('list')
      await page.getByRole('link', { name: 'Mine' }).click()
      await page.getByRole('link', { name: 'Delete' }).first().click()
      await check('delete incident')
      await page.getByRole('button', { name: 'Delete' }).click()
      await page.getByText('Incident deleted').waitFor()
    })

    await t.test(`a maintenance is planned, edited and cancelled, ${how}`, { skip }, async (t) => {
      const { call, logIn, origin } = await start(t)
      const page = await openPage(t, { baseURL: origin, viewport, javaScriptEnabled })
      const check = checkWith(t, page, javaScriptEnabled, how)
      await logIn(page)
      await page.getByRole('link', { name: 'Maintenances', exact: true }).click()
      await check('empty list')
      await page.getByRole('link', { name: 'Plan a maintenance' }).click()
      t.equal(
        await page.getByLabel('Weekday').isVisible(),
        !javaScriptEnabled,
        'a script hides what does not apply',
      )
      await check('new maintenance')
      await page.getByLabel('Title').fill('Backups')
      await page.getByLabel('Checkout').selectOption('Degraded')
      await page.getByLabel('Start (UTC)').fill('2998-12-30T02:00')
      await page.getByLabel('Duration', { exact: true }).fill('x')
      await page.getByLabel('Repeat').selectOption('Weekly')
      await page.getByLabel('Interval').fill('2')
      await page.getByLabel('Weekday').selectOption('Sunday')
      await page.getByRole('button', { name: 'Preview' }).click()
      await page.getByText('Enter 1 minute to 365 days').waitFor()
      await check('rejected form')
      await page.getByLabel('Duration', { exact: true }).fill('2')
      await page.getByRole('button', { name: 'Preview' }).click()
      await page.getByText('Every 2 weeks on Sunday at 02:00 UTC, for 2 h').waitFor()
      t.equal(await page.locator('.dates li').count(), 5)
      await check('preview')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Maintenance planned').waitFor()
      await check('maintenance')
      await page.getByRole('link', { name: 'Edit' }).click()
      await page.getByLabel('Repeat').selectOption('Once')
      await check('edit maintenance')
      await page.getByRole('button', { name: 'Preview' }).click()
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Changes saved').waitFor()
      await page.getByRole('link', { name: 'Move' }).click()
      await check('move event')
      await page.getByLabel('Start (UTC)').fill('2998-12-31T02:00')
      await page.getByLabel('End (UTC)').fill('2998-12-31T05:00')
      await page.getByRole('button', { name: 'Move event' }).click()
      await page.getByText('Event moved').waitFor()
      await page.getByRole('link', { name: 'Cancel' }).click()
      await check('cancel event')
      await page.getByRole('button', { name: 'Cancel event' }).click()
      await page.getByText('Event cancelled').waitFor()
      t.match((await call('GET /api/maintenances'))[0], { rrule: null, next_event: null })

      const starts_at = new Date(Date.now() - 60_000).toISOString()
      const { id } = await call('POST /api/maintenances', {
        title: 'Now',
        starts_at,
        duration_seconds: 86_400,
      })
      await page.goto('/manage/maintenances')
      await check('list')
      await page.getByRole('link', { name: 'Now' }).click()
      await page.getByRole('link', { name: 'End now' }).click()
      await page.getByRole('button', { name: 'End event' }).click()
      await page.getByText('Event ended').waitFor()
      t.match(await call(`GET /api/maintenances/${id}/events`), [{ state: 'COMPLETED' }])
      await check('ended maintenance')
      await page.getByRole('link', { name: 'Delete' }).click()
      await check('delete maintenance')
      await page.getByRole('button', { name: 'Delete' }).click()
      await page.getByText('Maintenance deleted').waitFor()
    })
  }
}

await t.test(
  'times are shown in the time zone of the browser, with UTC as the title',
  { skip },
  async (t) => {
    const { call, logIn, origin } = await start(t)
    const { id } = await call('POST /api/incidents', { title: 'Past', started_at: '2026-01-02T03:04:00Z' })
    const page = await openPage(t, { baseURL: origin, timezoneId: 'Asia/Kolkata' })
    await logIn(page)
    await page.goto(`/manage/incidents/${id}`)
    const time = page.locator('time').first()
    t.match(await time.innerText(), /2 Jan 2026, 08:34/)
    t.equal(await time.getAttribute('title'), '2 Jan 2026, 03:04 UTC')
    await page.goto(`/manage/incidents/${id}/edit`)
    t.equal(await page.getByLabel('Start (UTC)').inputValue(), '2026-01-02T03:04')
    await page.getByText('Your time: 2 Jan 2026, 08:34').waitFor()
  },
)

/** Also without JavaScript, no page scrolls horizontally, and what is touched is 44 px high. */
await closeBrowser()
