import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { assertAccessible, assertFits, closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'

async function start(t: Test) {
  const replica = await startReplica(t)
  const origin = await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const admin = await newKey(replica, { name: 'first-admin' })
  const open = (options: BrowserContextOptions = {}) => openPage(t, { baseURL: origin, ...options })
  const me = async (key: string) => {
    const reply = await fetch(`${origin}/api/me`, { headers: { authorization: `Bearer ${key}` } })
    return { status: reply.status, json: (await reply.json()) as { error?: { code: string } } }
  }
  return { ...replica, admin, open, me, origin }
}

async function logIn(page: Page, key: string) {
  await page.goto('/manage')
  await page.getByLabel('API key').fill(key)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
}

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? 'with JavaScript' : 'without JavaScript'

  await t.test(
    `the steps of docs/authentication.md create and revoke a working key, ${how}`,
    { skip },
    async (t) => {
      const { open, me, admin, log } = await start(t)
      let page = await open({ javaScriptEnabled })
      const urls: string[] = []
      page.context().on('request', (request) => urls.push(request.url()))
      await logIn(page, admin.token)

      await page.getByRole('link', { name: 'Settings' }).click()
      await page.getByRole('link', { name: 'API Keys' }).click()
      await page.getByRole('link', { name: 'Generate New Key' }).click()
      await page.getByLabel('Name').fill('monitoring-service')
      await page.getByLabel('read:monitors').check()
      await page.getByLabel('write:incidents').check()
      await page.getByLabel('Expiry').selectOption('In 30 days')
      await page.getByRole('button', { name: 'Create' }).click()

      const key = await page.getByLabel('API key: monitoring-service').inputValue()
      t.match(await page.locator('main').innerText(), 'it won’t be shown again')
      // Runs the command unchanged, as pasted into a shell.
      const command = await page.getByLabel('Try it in a terminal').inputValue()
      const { stdout } = await promisify(execFile)('sh', ['-c', command])
      const reply = JSON.parse(stdout) as { data?: object }
      t.match(reply.data, {
        key_name: 'monitoring-service',
        permissions: ['read:monitors', 'write:incidents'],
      })

      await page.reload()
      t.notOk((await page.content()).includes(key), 'a reload does not show the key again')
      await page.goto('/manage/settings/api-keys')
      t.equal(
        await page.getByRole('row', { name: 'monitoring-service' }).count(),
        1,
        'a reload does not create a second key',
      )
      await page.getByRole('row', { name: 'monitoring-service' }).locator('summary').click()
      const row = await page.getByRole('row', { name: 'monitoring-service' }).innerText()
      for (const text of [
        /read:monitors/,
        /write:incidents/,
        /Active/,
        /in 30 days/,
        /just now|1 minute ago/,
      ])
        t.match(row, text)

      if (javaScriptEnabled) {
        await page.goBack()
        t.notOk((await page.content()).includes(key), 'going back does not show the key')
      } else {
        // The browser asks for confirmation before it sends the form again, and shows a page of its own until then.
        await t.rejects(page.goBack(), { message: /ERR_CACHE_MISS/ })
        await page.close()
        page = await page.context().newPage()
      }
      await page.goto('/manage/settings/api-keys')

      await page
        .getByRole('row', { name: 'monitoring-service' })
        .getByRole('link', { name: 'Revoke' })
        .click()
      t.match(
        await page.locator('main').innerText(),
        /Revoke monitoring-service\?[^]*Last used: (just now|1 minute ago)/,
      )
      await page.getByRole('button', { name: 'Revoke' }).click()
      t.match(await page.getByRole('status').innerText(), 'Key revoked')
      const rejected = await me(key)
      t.equal(rejected.status, 401)
      t.equal(rejected.json.error?.code, 'KEY_REVOKED')

      await page.getByRole('button', { name: 'Log out' }).click()
      t.match(await page.locator('main').innerText(), 'You are logged out')
      for (const secret of [key, admin.token]) {
        t.notOk(
          urls.some((url) => url.includes(secret)),
          'no key in a URL',
        )
        t.notOk(JSON.stringify(log).includes(secret), 'no key in the log')
      }
    },
  )
}

await t.test(
  'a key with limits is rotated, and leads to its successor, also once it is revoked',
  { skip },
  async (t) => {
    const { open, admin, me, log } = await start(t)
    for (const javaScriptEnabled of [true, false]) {
      const page = await open({ javaScriptEnabled })
      await logIn(page, admin.token)
      const name = `backup-${javaScriptEnabled}`
      await page.goto('/manage/settings/api-keys/new')
      await page.getByLabel('Name').fill(name)
      await page.getByLabel('Description').fill('Reports the backup.\nAsk the database team.')
      await page.getByLabel('write:monitors').check()
      await page.getByLabel('Limit to monitors').fill('Backup')
      await page.getByLabel('Limit to addresses').fill('127.0.0.1\n2001:db8::/32')
      await page.getByRole('button', { name: 'Create' }).click()
      t.match(await page.locator('#monitors-error').innerText(), '“Backup” is not a tag')
      await page.getByLabel('Limit to monitors').fill('backup-*')
      await page.getByRole('button', { name: 'Create' }).click()
      const first = await page.getByLabel(`API key: ${name}`).inputValue()
      t.equal((await me(first)).status, 200)

      await page.goto('/manage/settings/api-keys')
      await page.getByRole('row', { name }).getByRole('link', { name: 'Rotate' }).click()
      t.equal(await page.getByLabel('Overlap').inputValue(), '86400')
      await page.getByRole('button', { name: 'Rotate' }).click()
      const second = await page.getByLabel(`API key: ${name}`).inputValue()
      await page.getByRole('link', { name: first.slice(6, 22) }).click()
      t.match(await page.locator('main').innerText(), /was rotated[^]*ends in 24 hours/)
      await page.getByRole('link', { name: 'Revoke' }).click()
      await page.getByRole('button', { name: 'Revoke' }).click()
      t.match(await page.locator('main').innerText(), 'its successor is active')
      await page.getByRole('link', { name, exact: true }).click()
      t.match(page.url(), second.slice(6, 22))
      t.match(await page.getByLabel('Details').innerText(), /backup-\*\s+Addresses\s+127\.0\.0\.1/)
      t.same([(await me(first)).status, (await me(second)).status], [401, 200])

      // A form that is saved unchanged changes nothing, although browsers send other line breaks.
      const description = page.getByLabel('Description')
      t.equal(await description.inputValue(), 'Reports the backup.\nAsk the database team.')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Nothing was changed').waitFor()
      t.notOk(log.some(({ event }) => event === 'key_changed'))
      await page.getByRole('link', { name: first.slice(6, 22) }).click()
      await page.getByRole('heading', { name }).waitFor()
    }
  },
)

await t.test('Copy copies the key, also without navigator.clipboard', { skip }, async (t) => {
  const { open, admin } = await start(t)
  for (const isSecure of [true, false]) {
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] })
    // Browsers have no navigator.clipboard on http:// except on localhost.
    if (!isSecure)
      await page.addInitScript(() => delete (Navigator.prototype as { clipboard?: unknown }).clipboard)
    await logIn(page, admin.token)
    await page.goto('/manage/settings/api-keys/new')
    await page.getByLabel('Name').fill('copied')
    await page.getByLabel('admin').check()
    await page.getByRole('button', { name: 'Create' }).click()
    await page.getByRole('button', { name: 'Copy' }).click()
    await page.getByRole('button', { name: 'Copied' }).waitFor()
    const key = await page.getByLabel('API key: copied').inputValue()
    await page.goto('/manage/settings/api-keys')
    await page.getByLabel('Name, description or ID').press('Control+V')
    t.equal(await page.getByLabel('Name, description or ID').inputValue(), key)
  }
})

await t.test(
  'a log-out ends the session in a second tab, and going back shows nothing',
  { skip },
  async (t) => {
    const { open, admin } = await start(t)
    const page = await open()
    await logIn(page, admin.token)
    const tab = await page.context().newPage()
    await tab.goto('/manage/settings/api-keys')
    await page.getByRole('button', { name: 'Log out' }).click()
    await tab.getByRole('link', { name: 'Generate New Key' }).click()
    await tab.getByRole('heading', { name: 'Log in' }).waitFor()
    await tab.goBack()
    await tab.getByRole('heading', { name: 'Log in' }).waitFor()
    t.notOk((await tab.content()).includes(admin.id))
  },
)

await t.test('script in the name of a key is escaped', { skip }, async (t) => {
  const { open, admin, db } = await start(t)
  const name = `<img src=x onerror="document.title='stolen'"><script>document.title='stolen'</script>`
  await newKey({ db }, { name })
  const page = await open()
  await logIn(page, admin.token)
  await page.goto('/manage/settings/api-keys')
  t.equal(await page.getByRole('link', { name, exact: true }).innerText(), name)
  await page.getByRole('link', { name, exact: true }).click()
  t.equal(await page.getByRole('heading', { level: 1 }).innerText(), name)
  t.not(await page.title(), 'stolen')
})

await t.test('a form on another site is sent without the session', { skip }, async (t) => {
  const { open, admin, origin, db } = await start(t)
  const page = await open()
  await logIn(page, admin.token)
  // localhost is another site than 127.0.0.1.
  await page.route('http://localhost:1/', (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: `<form method="post" action="${origin}/manage/settings/api-keys/${admin.id}/revoke"><button>Submit</button></form>`,
    }),
  )
  await page.goto('http://localhost:1/')
  await page.getByRole('button', { name: 'Submit' }).click()
  t.match(page.url(), /\/manage\/login(\?|$)/)
  t.notMatch(await page.locator('main').innerText(), /revoked/i)
  await page.goto('/manage')
  t.equal(await page.getByRole('heading', { name: 'Overview' }).count(), 1, 'the session has not ended')
  const stored = await db.selectFrom('api_keys').select('revoked_at').executeTakeFirstOrThrow()
  t.equal(stored.revoked_at, null)
})

await t.test('the list is filtered on input', { skip }, async (t) => {
  const { open, admin, db } = await start(t)
  for (const name of ['alpha', 'beta', 'gamma']) await newKey({ db }, { name })
  await db.updateTable('api_keys').set({ description: 'For Delta' }).where('name', '=', 'gamma').execute()
  const page = await open()
  await logIn(page, admin.token)
  await page.goto('/manage/settings/api-keys')
  const shown = () => page.locator('tbody tr:visible').count()
  t.equal(await shown(), 4)
  await page.getByLabel('Name, description or ID').pressSequentially('ALP')
  t.equal(await shown(), 1)
  await page.getByLabel('Name, description or ID').fill('delta')
  t.equal(await shown(), 1)
  await page.getByLabel('Name, description or ID').fill('nothing like it')
  t.match(await page.getByRole('status').innerText(), 'No keys match')
  await page.getByLabel('Name, description or ID').fill('')
  t.equal(await shown(), 4)
  await page.getByLabel('Select all keys on this page').check()
  await page.getByLabel('Name, description or ID').fill('alp')
  await page.getByRole('button', { name: 'Revoke selected' }).click()
  await page.getByRole('heading', { name: 'Revoke 1 key?' }).waitFor()
  t.match(
    await page.getByLabel('Keys to revoke').innerText(),
    'alpha',
    'keys that are not shown are not selected',
  )
})

await t.test('every step works with the keyboard only', { skip }, async (t) => {
  const { open, admin, db } = await start(t)
  const page = await open()
  const press = (key: string) => page.keyboard.press(key)
  const tabTo = async (name: string) => {
    for (let presses = 0; presses < 40; presses++) {
      await press('Tab')
      const focused = page.locator(':focus')
      const outline = await focused.evaluate((element) => getComputedStyle(element).outlineStyle)
      t.not(outline, 'none', 'the focus is visible')
      const label = await focused.evaluate((element) =>
        element instanceof HTMLInputElement ? (element.labels?.[0]?.innerText ?? '') : element.textContent,
      )
      if (label.startsWith(name)) return
    }
    t.fail(`Tab does not reach ${name}`)
  }
  await page.goto('/manage')
  await page.getByLabel('API key').and(page.locator(':focus')).waitFor()
  await page.keyboard.type(admin.token)
  await press('Enter')
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
  await tabTo('Skip to content')
  await tabTo('Settings')
  await press('Enter')
  await page.getByRole('heading', { name: 'API Keys' }).waitFor()
  await tabTo('Generate New Key')
  await press('Enter')
  await page.getByRole('heading', { name: 'Generate New Key' }).waitFor()
  await tabTo('Name')
  await page.keyboard.type('typed')
  await tabTo('read:incidents')
  await press('Space')
  await press('Enter')
  await page.getByRole('heading', { name: 'Copy your new key' }).waitFor()
  const stored = await db.selectFrom('api_keys').select('permissions').where('name', '=', 'typed').execute()
  t.same(stored, [{ permissions: ['read:incidents'] }])
})

await t.test('axe finds no violations, and no page scrolls horizontally', { skip }, async (t) => {
  const { open, call, admin, db } = await start(t)
  await call(admin.token, 'PUT /api/monitors/website', { name: 'Website' })
  await call(admin.token, 'POST /api/monitors/website/data', { status: 'DOWN' })
  await call(admin.token, 'PUT /api/monitors/api', { name: 'API' })
  await call(admin.token, 'POST /api/incidents', {
    title: 'Down',
    monitors: [{ monitor_tag: 'api', impact: 'DEGRADED' }],
  })
  const { id } = await newKey({ db }, { name: 'x'.repeat(100), expiresAt: new Date(Date.now() + 1e8) })
  const revoked = await newKey({ db }, { name: 'revoked' })
  const successor = await call(admin.token, `POST /api/keys/${revoked.id}/rotate`)
  await call(admin.token, `POST /api/keys/${revoked.id}/revoke`)
  const bound = await newKey(
    { db },
    {
      name: 'bound',
      permissions: ['read:monitors'],
      monitors: ['x'.repeat(255), 'website'],
      allowedIps: ['2001:db8:1111:2222:3333:4444:5555:6666', '127.0.0.1'],
    },
  )
  await call(admin.token, `PATCH /api/keys/${bound.id}`, { description: 'long '.repeat(150) })
  const rotated = await newKey({ db }, { name: 'rotated' })
  await call(admin.token, `POST /api/keys/${rotated.id}/rotate`, { overlap_seconds: 3_600 })
  const keys = '/manage/settings/api-keys'

  for (const [colorScheme, width] of [
    ['light', 1280],
    ['dark', 360],
  ] as const) {
    const page = await open({ colorScheme, viewport: { width, height: 800 } })
    const check = async (name: string) => {
      const title = `${name}, ${colorScheme}, ${width} px`
      await assertAccessible(t, page, title)
      await assertFits(t, page, title)
    }
    await page.goto('/manage/login')
    await check('log-in')
    await page.getByLabel('API key').fill('nonsense')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByText('not a valid key').waitFor()
    await check('rejected log-in')
    await logIn(page, admin.token)
    await check('overview')
    for (const path of [
      '',
      '?q=nothing-like-it',
      '?status=revoked&sort=name',
      `/revoke?id=${id}&id=${bound.id}&id=${admin.id}`,
      '/revoke',
      '/advice',
      '/new',
      `/${id}`,
      `/${revoked.id}`,
      `/${successor.json.data.id}`,
      `/${bound.id}`,
      `/${rotated.id}`,
      `/${rotated.id}/revoke`,
      `/${id}/rotate`,
      `/${id}/revoke`,
      '/none',
    ]) {
      await page.goto(keys + path)
      await check(path)
    }
    for (const path of [
      '/manage/audit',
      `/manage/audit?target=${bound.id}&from=2026-01-01`,
      '/manage/audit?actor=x',
    ]) {
      await page.goto(path)
      await check(path)
    }
    await page.goto(`${keys}/new`)
    await page.getByLabel('Name').fill(' ')
    await page.getByLabel('Limit to monitors').fill('y'.repeat(256))
    await page.getByRole('button', { name: 'Create' }).click()
    await page.getByRole('alert').waitFor()
    await check('rejected form')
    await page.getByLabel('Name').fill('checked')
    await page.getByLabel('Limit to monitors').fill('')
    await page.getByLabel('admin').check()
    await page.getByRole('button', { name: 'Create' }).click()
    await page.getByRole('heading', { name: 'Copy your new key' }).waitFor()
    await check('new key')
  }
})

await t.test(
  '/docs sends a request with the entered key, and none to another origin',
  { skip },
  async (t) => {
    const { open, admin, origin } = await start(t)
    for (const [colorScheme, width, background] of [
      ['light', 1280, 'rgba(0, 0, 0, 0)'],
      ['dark', 360, 'rgb(28, 32, 34)'],
    ] as const) {
      const page = await open({ colorScheme, viewport: { width, height: 800 } })
      const origins = new Set<string>()
      page.on('request', (request) => origins.add(new URL(request.url()).origin))
      page.on('console', (message) => {
        if (message.type() === 'error') t.fail(message.text())
      })
      await page.goto('/docs')
      await page.getByRole('button', { name: 'Authorize', exact: true }).click()
      const dialog = page.locator('.dialog-ux')
      t.match(await dialog.innerText(), /key\s+\(http, Bearer\)/)
      await dialog.getByRole('textbox').fill(admin.token)
      await dialog.getByRole('button', { name: 'Apply credentials' }).click()
      await dialog.getByRole('button', { name: 'Close' }).last().click()

      const operation = page.locator('.opblock', { hasText: '/api/me' }).first()
      await operation.getByRole('button').first().click()
      await operation.getByRole('button', { name: 'Execute' }).click()
      const reply = operation.locator('.live-responses-table')
      t.match(await reply.innerText(), /200[^]*"key_name": "first-admin"/)
      t.same([...origins], [origin])

      const root = page.locator('html')
      t.equal(await root.evaluate((element) => getComputedStyle(element).backgroundColor), background)
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      t.ok(excess <= 0, `${width} px: ${excess} px too wide`)
    }
  },
)

await closeBrowser()
