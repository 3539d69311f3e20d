import { readFileSync } from 'node:fs'
import t from 'tap'
import { checkWith, closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'
import { collectPages, fillPanel, fillPath } from './manage-pages.ts'
import { logIn } from '../visitor.ts'

/** Sizes are of text that is not compressed. */
const maxPageBytes = 100_000

const sections = /^\/manage(\/(monitors|incidents|maintenances|settings|audit|account))?$/

await t.test('of every page: size without data, number of statements, breadcrumbs', async (t) => {
  const pages: string[] = []
  const replica = await startReplica(t, { extend: collectPages(pages) })
  const { token } = await newKey(replica, { name: 'boss' })
  const visitor = await logIn(replica.app, token)
  t.ok(pages.length >= 25, `${pages.length} pages`)

  const asset = (name: string) =>
    readFileSync(new URL(`../../src/manage/assets/${name}`, import.meta.url)).byteLength
  const assets = asset('manage.css') + asset('manage.js') + asset('icon.svg')
  for (const path of pages.filter((path) => !path.includes(':'))) {
    const bytes = Buffer.byteLength((await visitor.get(path)).body) + assets
    t.ok(bytes <= maxPageBytes, `${path} without data: ${bytes} bytes`)
  }

  const count = async (path: string) => {
    replica.statements.length = 0
    const reply = await visitor.get(path)
    t.ok([200, 303].includes(reply.statusCode), `${path}: ${reply.statusCode}`)
    return { statements: replica.statements.length, reply }
  }
  const ids = await fillPanel(replica, token, 0, 3)
  const few = new Map<string, number>()
  for (const page of pages) {
    const path = fillPath(page, ids)
    const { statements, reply } = await count(path)
    few.set(path, statements)
    if (reply.statusCode === 200 && !sections.test(path)) await checkBreadcrumbs(path, reply.body)
  }
  await fillPanel(replica, token, 3, 57)
  for (const [path, statements] of few)
    t.equal((await count(path)).statements, statements, `${path}: the number of statements is fixed`)

  /** Each link of the trail is a page above this one, and the last item is this page. */
  async function checkBreadcrumbs(path: string, body: string) {
    const [, trail = ''] = /<nav class="breadcrumbs"[^>]*>(.*?)<\/nav>/.exec(body) ?? []
    t.match(trail, /aria-current="page"/, `${path} names itself`)
    const links = [...trail.matchAll(/href="([^"]*)"/g)].map(([, href = '']) => href)
    let above = '/manage'
    for (const href of links) {
      t.ok(href === above || href.startsWith(`${above}/`), `${path}: ${href} is below ${above}`)
      t.ok(path === href || path.startsWith(`${href}/`), `${path} is below ${href}`)
      t.equal((await visitor.get(href)).statusCode, 200, `${path}: ${href}`)
      above = href
    }
  }
})

await t.test('every page fits a phone and a desktop, and axe finds no violation', { skip }, async (t) => {
  const pages: string[] = []
  const replica = await startReplica(t, { extend: collectPages(pages) })
  const origin = await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const { token } = await newKey(replica, { name: 'boss' })
  const ids = await fillPanel(replica, token, 0, 3)
  for (const viewport of [
    { width: 360, height: 800 },
    { width: 1280, height: 800 },
  ]) {
    const page = await openPage(t, { baseURL: origin, viewport })
    const check = checkWith(t, page, true, `${viewport.width} px`)
    await page.goto('/manage/login')
    await page.getByLabel('API key').fill(token)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    for (const path of [...pages.map((path) => fillPath(path, ids)), '/manage/nothing-here']) {
      await page.goto(path)
      await check(path)
    }
  }
})

await closeBrowser()
