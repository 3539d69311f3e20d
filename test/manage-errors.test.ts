import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { newKey, shareReplica } from './helper.ts'
import { logIn, visit } from './visitor.ts'

const getReplica = shareReplica(t)

await t.test('errors under /manage are pages with the headers of the panel', async (t) => {
  const replica = await getReplica()
  const { app } = replica
  const { token } = await newKey(replica)
  const { cookie } = await logIn(app, token)
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const requests: [method: string, url: string, status: number, text: string, more?: object][] = [
    ['GET', '/manage/%E0%A4%A', 400, 'not correctly percent-encoded'],
    ['POST', '/manage/incidents/%zz', 400, 'not correctly percent-encoded'],
    ['GET', `/manage/monitors/${'x'.repeat(501)}`, 404, 'longer than 500 characters'],
    ['GET', `/manage/monitors?q=${'x'.repeat(256)}`, 400, 'q must have at most 255 characters'],
    ['GET', '/manage/incidents/no-number', 400, 'id must be'],
    ['GET', '/manage/incidents/1', 404, 'no incident with this id'],
    ['GET', '/manage/nothing-here', 404, 'nothing at this path'],
    ['GET', '/manage/assets/nothing-here.js', 404, 'nothing at this path'],
    ['PUT', '/manage/incidents', 405, 'use GET, HEAD'],
    ['DELETE', '/manage/settings/api-keys/new', 405, 'use GET, HEAD, POST'],
    ['PROPFIND', '/manage', 405, 'use GET, HEAD'],
    ['OPTIONS', '/manage', 405, 'use GET, HEAD'],
    [
      'POST',
      '/manage/logout',
      415,
      'not a form',
      { headers: { 'content-type': 'text/plain' }, payload: 'a' },
    ],
    ['POST', '/manage/logout', 403, 'form has expired', { headers: form, payload: 'a=b' }],
    ['POST', '/manage/logout', 413, '16 KiB', { headers: form, payload: 'x'.repeat(16_385) }],
    ['POST', '/manage/incidents/new', 413, '513 KiB', { headers: form, payload: 'x'.repeat(525_313) }],
    ['GET', '/manage', 400, 'The header Host must be a name', { headers: { host: 'a"b' } }],
  ]
  for (const [method, url, status, text, more = {}] of requests) {
    const { headers, ...rest } = { headers: {}, ...more }
    const reply = await app.inject({
      method: method as 'GET',
      url,
      headers: { cookie, ...headers },
      ...rest,
    })
    const name = `${method} ${url.slice(0, 60)}`
    t.equal(reply.statusCode, status, name)
    t.match(reply.headers['content-type'], 'text/html', name)
    t.match(reply.headers['content-security-policy'], "default-src 'none'", name)
    t.equal(reply.headers['x-frame-options'], 'DENY', name)
    t.equal(reply.headers['cache-control'], 'no-store', name)
    t.ok(reply.headers['x-request-id'], name)
    t.match(reply.body, text, name)
    t.match(reply.body, '<!doctype html>', name)
    if (method !== 'GET') continue
    const head = await app.inject({ method: 'HEAD', url, headers: { cookie, ...headers } })
    t.equal(head.statusCode, status, `HEAD ${url}`)
    t.equal(head.body, '')
    t.equal(head.headers['content-security-policy'], reply.headers['content-security-policy'])
    t.match(head.headers['content-type'], 'text/html')
  }
  const filtered = await app.inject({ url: '/manage/monitors?status=GONE', headers: { cookie } })
  t.match(filtered.body, 'href="/manage/monitors">Clear the filters</a>')
  t.match(
    (await visit(app).get('/manage/%zz')).headers['content-type'],
    'text/html',
    'also without a session',
  )
})

await t.test('a URL of more than 16 KiB is a page too, and outside of /manage JSON', async (t) => {
  const { app } = await getReplica()
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const request = async (path: string) => {
    const socket = connect(Number(port), '127.0.0.1')
    let reply = ''
    socket.on('data', (chunk) => (reply += chunk.toString()))
    socket.write(`GET ${path}${'x'.repeat(17_000)} HTTP/1.1\r\nhost: x\r\n\r\n`)
    await once(socket, 'close')
    t.match(reply, /^HTTP\/1\.1 431 .*16 KiB/s)
    return reply
  }
  for (const path of ['/manage/', '/manage?q=']) {
    const reply = await request(path)
    for (const text of [
      'content-type: text/html; charset=utf-8\r\n',
      'x-frame-options: DENY\r\n',
      "content-security-policy: default-src 'none'",
      'cache-control: no-store\r\n',
      '<!doctype html>',
      'Request too large',
    ])
      t.ok(reply.includes(text), text)
    t.notMatch(reply, 'xxx', 'the address is not repeated')
  }
  for (const path of ['/api/', '/managed/']) t.match(await request(path), /application\/json/)
})
