import { sql } from 'kysely'
import t from 'tap'
import { checkWith, closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'

for (const [width, javaScriptEnabled] of [
  [360, true],
  [1280, true],
  [360, false],
  [1280, false],
] as const) {
  const how = `${width} px, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`

  await t.test(
    `a log-in, a confirmation, and a form that outlives its session, ${how}`,
    { skip },
    async (t) => {
      const replica = await startReplica(t)
      const { db } = replica
      const origin = await replica.app.listen({ host: '127.0.0.1', port: 0 })
      const [admin, writer] = [
        await newKey(replica),
        await newKey(replica, { name: 'writer', permissions: ['write:incidents'] }),
      ]
      const viewport = { width, height: 800 }
      const page = await openPage(t, { baseURL: origin, javaScriptEnabled, viewport })
      const check = checkWith(t, page, javaScriptEnabled, how)
      const key = page.getByLabel('API key')
      const logIn = async (token: string) => {
        await key.fill(token)
        await page.getByRole('button', { name: 'Log in' }).click()
      }

      await page.goto('/manage/login')
      await check('the log-in')
      t.equal(await key.getAttribute('type'), 'password')
      const toggle = page.getByRole('button', { name: /key$/ })
      t.equal(await toggle.isVisible(), javaScriptEnabled)
      if (javaScriptEnabled) {
        await page.getByRole('button', { name: 'Show key' }).click()
        t.equal(await key.getAttribute('type'), 'text')
        await page.getByRole('button', { name: 'Hide key' }).click()
        t.equal(await key.getAttribute('type'), 'password')
      }
      await logIn(writer.token)
      await page.getByText('This key may not read monitors').waitFor()
      await check('the overview of a key that may not read')
      await page.getByRole('link', { name: 'writer' }).click()
      await page.getByRole('heading', { name: 'Your key' }).waitFor()
      await check('the own key')
      await page.getByRole('button', { name: 'Log out everywhere' }).click()
      await page.getByText('All sessions of the key have ended').waitFor()

      await logIn(admin.token)
      await page.goto(`/manage/settings/api-keys/${writer.id}/revoke`)
      await sql`update admin_sessions set logged_in_at = now() - interval '1 hour'`.execute(db)
      const second = await page.context().newPage()
      await second.goto('/manage/monitors/new')
      await page.getByRole('button', { name: 'Revoke' }).click()
      await page.getByRole('heading', { name: 'Confirm with your key' }).waitFor()
      await check('the confirmation')
      await key.fill(admin.token)
      await page.getByRole('button', { name: 'Continue' }).click()
      t.match(await page.getByRole('status').innerText(), 'Key revoked')

      await second.getByLabel('Tag').fill('website')
      await second.getByLabel('Name').fill('Website')
      await second.getByRole('button', { name: 'Create' }).click()
      t.match(await second.getByRole('status').innerText(), 'Nothing was saved yet', 'in a tab from before')
      await second.getByRole('button', { name: 'Create' }).click()
      t.match(await second.getByRole('status').innerText(), 'Monitor created')

      await page.goto('/manage/incidents/new')
      await page.getByLabel('Title').fill('Checkout is slow')
      await page.getByLabel('First update').fill('Line 1\nLine 2')
      await page.getByLabel('Website').selectOption('Down')
      await sql`delete from admin_sessions`.execute(db)
      await page.getByRole('button', { name: 'Preview' }).click()
      await page.getByText('Your session has ended').waitFor()
      await check('the log-in that keeps a form')
      await logIn(admin.token)
      await page.getByRole('heading', { name: 'Open an incident' }).waitFor()
      await check('the form that is shown again')
      t.equal(await page.getByLabel('Title').inputValue(), 'Checkout is slow')
      t.equal(await page.getByLabel('First update').inputValue(), 'Line 1\nLine 2')
      t.equal(await page.getByLabel('Website').inputValue(), 'DOWN')
      await page.getByRole('button', { name: 'Preview' }).click()
      await page.getByRole('button', { name: 'Publish' }).click()
      await page.getByText('Incident opened').waitFor()

      await sql`delete from admin_sessions`.execute(db)
      await page.getByRole('button', { name: 'Resolve' }).click()
      await page.getByText('nothing was changed').waitFor()
      await logIn(admin.token)
      t.match(await page.getByRole('status').innerText(), 'Nothing was changed')
      t.match(page.url(), '/manage/incidents/1')
    },
  )
}

await closeBrowser()
