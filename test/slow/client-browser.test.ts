import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type * as Kener from 'kener-api/client'
import t from 'tap'
import { closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'

const files = join(import.meta.dirname, '../../src/client')
const html =
  '<!doctype html><script type="module">import * as client from "./index.js"; window.client = client</script>'

await t.test('the client works in a browser, on the origin of the service', { skip }, async (t) => {
  const { app, call, db } = await startReplica(t)
  const baseURL = await app.listen({ host: '127.0.0.1', port: 0 })
  const { token } = await newKey({ db })
  for (const tag of ['one', 'two']) await call(token, `PUT /api/monitors/${tag}`, { name: tag })
  const page = await openPage(t, { baseURL })
  await page.route(/\/page\/.*/, (route) => {
    const name = new URL(route.request().url()).pathname.slice('/page/'.length)
    if (name === 'api/me') return route.fulfill({ status: 302, headers: { location: '/api/status' } })
    return name === ''
      ? route.fulfill({ contentType: 'text/html', body: html })
      : route.fulfill({ contentType: 'text/javascript', body: readFileSync(join(files, name), 'utf8') })
  })
  await page.goto('/page/')

  const result = await page.evaluate(async (key) => {
    const { createClient, KenerError } = (globalThis as unknown as { client: typeof Kener }).client
    const kener = createClient({ url: location.origin, key })
    const { data } = await kener.post('/api/monitors/{tag}/data', {
      path: { tag: 'one' },
      body: { status: 'DOWN', latency_ms: 12 },
    })
    const tags: string[] = []
    for await (const monitor of kener.list('/api/monitors', { query: { limit: 1 } })) tags.push(monitor.tag)
    const error: unknown = await kener
      .get('/api/monitors/{tag}', { path: { tag: 'three' } })
      .catch((error: unknown) => error)
    const controller = new AbortController()
    const aborted = kener.get('/api/me', { signal: controller.signal }).catch(String)
    controller.abort(new Error('Enough'))
    const moved = createClient({ url: `${location.origin}/page`, key, maxRetries: 0 })
    const redirect = await moved.get('/api/me').catch(String)
    return { redirect, data, tags, code: error instanceof KenerError && error.code, aborted: await aborted }
  }, token)
  t.same(result, {
    redirect:
      'KenerError: The response with the status 0 is not from the service: it redirects to another address',
    data: { written: 1 },
    tags: ['one', 'two'],
    code: 'NOT_FOUND',
    aborted: 'Error: Enough',
  })
})

await closeBrowser()
