import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { closeBrowser, openPage, skip } from '../browser.ts'
import { newKey, startReplica } from '../helper.ts'

/** Atlassian's own web component, which reads the status of a Statuspage from another origin. */
const widget = readFileSync(createRequire(import.meta.url).resolve('@statuspage/status-widget/dist/index.js'))

await t.test('the widget of Statuspage shows the status in a page of another origin', { skip }, async (t) => {
  const replica = await startReplica(t)
  const origin = await replica.app.listen({ host: '127.0.0.1', port: 0 })
  const { token } = await newKey(replica)
  for (const tag of ['api', 'web']) await replica.call(token, 'POST /api/monitors', { tag, name: tag })
  await replica.call(token, 'POST /api/monitors/web/data', { status: 'DOWN' })

  const other = createServer((request, response) => {
    if (request.url === '/widget.js') {
      response.setHeader('content-type', 'text/javascript').end(widget)
      return
    }
    response.setHeader('content-type', 'text/html')
    // The script assigns a variable that it does not declare.
    response.end(`<!doctype html><script>var parcelRequire</script><script src="/widget.js"></script>
      <statuspage-widget src="${origin}"></statuspage-widget>`)
  })
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  t.teardown(() => other.close())
  const page = await openPage(t, {})
  await page.goto(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`)
  await page.getByText('Partial System Outage').waitFor()
  t.equal(await page.locator('.status-indicator.major').count(), 1)
  t.equal(await page.locator('statuspage-widget a').getAttribute('href'), origin)

  const statuses = await page.evaluate(async (url) => {
    const first = await fetch(url)
    const headers = { 'if-none-match': first.headers.get('etag') ?? '' }
    const again = await fetch(url, { headers, cache: 'no-store' })
    const hidden = await fetch(url.replace('/api/v2/status.json', '/healthz')).catch(() => undefined)
    return [first.status, again.status, hidden?.status]
  }, `${origin}/api/v2/status.json`)
  t.same(statuses, [200, 304, undefined], 'a script reads public output, with an ETag, and nothing else')
})

await closeBrowser()
