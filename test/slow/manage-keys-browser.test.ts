import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { assertAccessible, assertFits, closeBrowser, openPage, skip } from '../browser.ts'
import { expire, newKey, startReplica, times } from '../helper.ts'

t.teardown(closeBrowser)

const keys = '/manage/settings/api-keys'

async function start(t: Test) {
  const replica = await startReplica(t)
  const baseURL = await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const admin = await newKey(replica, { name: 'first-admin' })
  const open = async (width: 360 | 1280, javaScriptEnabled: boolean) => {
    const viewport = { width, height: width === 360 ? 740 : 800 }
    const permissions = ['clipboard-read', 'clipboard-write']
    const page = await openPage(t, {
      baseURL,
      viewport,
      javaScriptEnabled,
      permissions,
      hasTouch: width === 360,
    })
    await page.goto('/manage/login')
    await page.getByLabel('API key').fill(admin.token)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    return page
  }
  return { ...replica, admin, open }
}

/** Returns the controls of a page that are smaller than 44 px. A checkbox is as large as its label. */
function smallTargets(page: Page): Promise<string[]> {
  return page
    .locator(
      'main :is(nav, form, table, .heading) :is(a, button, summary, select, input:not([type=hidden], [type=checkbox]), label)',
    )
    .evaluateAll((controls) =>
      controls
        .filter((control) => control.checkVisibility({ visibilityProperty: true }))
        .map(
          (control) =>
            ({ control, ...control.getBoundingClientRect().toJSON() }) as DOMRect & { control: Element },
        )
        .filter(({ width, height }) => width < 44 || height < 44)
        .map(({ control, width, height }) => `${control.outerHTML.slice(0, 120)}: ${width} x ${height}`),
    )
}

/** Returns the cells of the list whose text is cut off, leaves its row, or is less than 6 px from the text of another cell. */
function crowdedCells(page: Page): Promise<string[]> {
  return page.locator('#keys tbody tr').evaluateAll((rows) =>
    rows.flatMap((row) => {
      const cells = [...row.querySelectorAll('td')].filter(
        (cell) => cell.checkVisibility() && cell.textContent !== '',
      )
      const texts = cells.map((cell) => {
        const range = document.createRange()
        range.selectNodeContents(cell.querySelector('summary') ?? cell)
        const { left, right, top, bottom } = range.getBoundingClientRect()
        return { cell, left, right, top, bottom }
      })
      const faults = texts.filter(
        ({ cell, left, right, top, bottom }) =>
          cell.scrollWidth > cell.clientWidth ||
          right > row.getBoundingClientRect().right ||
          texts.some(
            (other) =>
              other.left > left && other.left < right + 6 && other.top < bottom && other.bottom > top,
          ),
      )
      return faults.map(({ cell }) => cell.textContent)
    }),
  )
}

const variants = [true, false].flatMap((javaScriptEnabled) =>
  ([360, 1280] as const).map((width) => ({ width, javaScriptEnabled })),
)

for (const { width, javaScriptEnabled } of variants) {
  const how = `at ${width} px, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`

  await t.test(`keys are found, sorted, paged and revoked together, ${how}`, { skip }, async (t) => {
    const { open, db } = await start(t)
    const inDays = (days: number) => new Date(Date.now() + days * 86_400_000)
    await times(55, (index) => newKey({ db }, { name: `service ${index}`, expiresAt: inDays(300 + index) }))
    await newKey({ db }, { name: 'soon '.repeat(15), expiresAt: inDays(5) })
    const wide = {
      name: 'wide',
      permissions: ['read:monitors', 'write:monitors', 'delete:monitors', 'write:incidents'] as const,
      monitors: ['website', 'payments-*'],
    }
    await newKey({ db }, { ...wide, permissions: [...wide.permissions] })
    await expire({ db }, (await newKey({ db }, { name: 'expired' })).id)
    const page = await open(width, javaScriptEnabled)
    const check = async (name: string) => {
      await assertFits(t, page, name)
      t.same(await smallTargets(page), [], name)
      if (javaScriptEnabled) await assertAccessible(t, page, name)
    }
    await page.goto(keys)
    await check('list')
    const boxes = await Promise.all((await page.locator('tbody tr').all()).map((row) => row.boundingBox()))
    if (width === 1280) {
      t.ok(
        boxes.every((box) => box && box.height <= 50),
        'one line per key',
      )
    } else {
      const visible = boxes.filter((box) => box && box.y + box.height <= 740)
      t.ok(visible.length >= 3, `${visible.length} keys are visible on the first screen`)
    }
    const summary = page.getByRole('row', { name: 'wide' }).locator('summary')
    await summary.click()
    t.match(await page.locator('.fold:visible').innerText(), /write:incidents[^]*on website and 1 more/)
    await check('unfolded permissions')

    await page.getByRole('link', { name: 'Expiring soon' }).click()
    await page.getByRole('link', { name: /^soon/ }).waitFor()
    t.equal(await page.locator('tbody tr').count(), 1)
    t.match(await page.locator('.soon').innerText(), 'in 5 days')
    await check('expiring soon')
    await page.getByRole('link', { name: /^All/ }).click()

    if (width === 1280) await page.getByRole('link', { name: 'Name', exact: true }).click()
    else {
      await page.getByLabel('Sort').selectOption('Name A–Z')
      await page.getByRole('button', { name: 'Filter' }).click()
    }
    await page.getByText('1–50 of 59').waitFor()
    t.match(await page.locator('tbody tr').first().innerText(), 'expired')
    await page.getByRole('link', { name: 'Next' }).click()
    await page.getByText('51–59 of 59').waitFor()
    await page.getByRole('link', { name: 'Previous' }).click()
    await page.getByText('1–50 of 59').waitFor()

    await page.getByLabel('Name, description or ID').fill('service 1')
    await page.getByRole('button', { name: 'Filter' }).click()
    await page.getByText('1–11 of 11').waitFor()
    t.equal(await page.getByRole('button', { name: 'Revoke selected' }).isVisible(), false)
    for (const name of ['service 1', 'service 15', 'service 19'])
      await page.getByLabel(`Select ${name}`, { exact: true }).check()
    await check('selection')
    await page.getByRole('button', { name: 'Revoke selected' }).click()
    await page.getByRole('heading', { name: 'Revoke 3 keys?' }).waitFor()
    await assertFits(t, page, 'confirmation')
    if (javaScriptEnabled) await assertAccessible(t, page, 'confirmation')
    await page.getByRole('button', { name: 'Revoke 3 keys' }).click()
    t.match(await page.getByRole('status').first().innerText(), '3 keys revoked')
    t.match(page.url(), /q=service\+1&sort=name/, 'back to the same list')
    t.match(
      await page.getByRole('row', { name: 'service 15' }).innerText(),
      /Revoked\s+(just now|1 minute ago)/,
    )
  })

  await t.test(`the list cuts off no text, ${how}`, { skip }, async (t) => {
    const { open, call, admin, db } = await start(t)
    const long = await newKey(
      { db },
      { permissions: ['delete:monitors', 'read:incidents', 'write:incidents'] },
    )
    const minutes = (count: number) => new Date(Date.now() - count * 60_000)
    await db
      .updateTable('api_keys')
      .set({ last_used_at: minutes(112), expires_at: minutes(-14 * 30.4 * 1440) })
      .where('id', '=', long.id)
      .execute()
    const revoked = await newKey({ db }, { name: 'x'.repeat(100), permissions: ['delete:monitors'] })
    const soon = await newKey({ db }, { name: '\u202Ereversed', expiresAt: minutes(-13 * 1440) })
    await call(admin.token, `POST /api/keys/${revoked.id}/revoke`)
    const page = await open(width, javaScriptEnabled)
    await page.goto(keys)
    t.match(await page.locator('#keys').innerText(), /112 minutes ago/)
    t.same(await crowdedCells(page), [])
    const name = page.locator(`#keys a[href$="${soon.id}"]`)
    t.equal(
      await name.evaluate((link) => getComputedStyle(link).unicodeBidi),
      'isolate',
      'a name does not change the direction of what follows it',
    )
    if (width === 360) {
      const nav = page.getByRole('navigation', { name: 'Main' })
      const { isScrollable, attachment } = await nav.evaluate((element) => ({
        isScrollable: element.scrollWidth > element.clientWidth,
        attachment: getComputedStyle(element).backgroundAttachment,
      }))
      t.ok(isScrollable)
      t.match(attachment, 'local', 'a shade at its edges shows that it scrolls')
    }
  })

  await t.test(
    `a stale form shows the current values, and the id can be copied, ${how}`,
    { skip },
    async (t) => {
      const { open, call, admin, db } = await start(t)
      const { id } = await newKey(
        { db },
        { name: 'client', permissions: ['read:monitors', 'write:monitors'] },
      )
      const page = await open(width, javaScriptEnabled)
      await page.goto(`${keys}/${id}`)
      await call(admin.token, `PATCH /api/keys/${id}`, { permissions: ['read:monitors'] })
      await page.getByLabel('Name').fill('renamed')
      await page.getByRole('button', { name: 'Save' }).click()
      t.match(await page.getByRole('alert').innerText(), 'was changed after you opened the form')
      t.match(await page.locator('#permissions-error').innerText(), 'Saved: read:monitors')
      t.equal(await page.getByLabel('Name').inputValue(), 'renamed')
      await assertFits(t, page, 'conflict')
      if (javaScriptEnabled) await assertAccessible(t, page, 'conflict')
      await page.getByLabel('write:monitors').uncheck()
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByText('Changes saved').waitFor()
      const { name, permissions } = (await call(admin.token, `GET /api/keys/${id}`)).json.data
      t.same({ name, permissions }, { name: 'renamed', permissions: ['read:monitors'] })

      const copy = page.getByRole('button', { name: 'Copy the ID of renamed' })
      t.equal(await copy.isVisible(), javaScriptEnabled)
      if (javaScriptEnabled) {
        await copy.click()
        await page.getByRole('button', { name: 'Copied' }).waitFor()
        t.equal(await page.evaluate(() => navigator.clipboard.readText()), id)
      } else {
        await page.locator(`#id-${id}`).click()
        t.equal(await page.locator(`#id-${id}`).innerText(), id)
      }
    },
  )
}
