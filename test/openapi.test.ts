import { readFileSync } from 'node:fs'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { newKey, type Replica, startReplica } from './helper.ts'

type Operation = {
  operationId: string
  'x-permission': string
  security: object[]
  parameters?: { name: string; in: string; description?: string }[]
  requestBody?: {
    content: Record<string, Content[string] & { examples?: Record<string, { value: unknown }> }>
  }
  responses: Record<string, Described>
}
type Described = { $ref?: string; description?: string; content?: Content }
type Content = Record<string, { schema: Schema; example?: unknown }>
type Schema = { description?: string; properties?: Record<string, Schema>; items?: Schema }
type Document = {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { responses: Record<string, Described> }
}

async function start(t: Test): Promise<{ replica: Replica; document: Document }> {
  const replica = await startReplica(t)
  const { json } = await replica.call(null, 'GET /openapi.json')
  return { replica, document: json as Document }
}

/** Returns the paths of fields without a description. */
function undescribedFields(content: Content = {}): string[] {
  const search = ({ properties = {}, items }: Schema, path: string): string[] => [
    ...Object.entries(properties).flatMap(([name, schema]) => [
      ...(schema.description ? [] : [`${path}/${name}`]),
      ...search(schema, `${path}/${name}`),
    ]),
    ...(items ? search(items, path) : []),
  ]
  return Object.values(content).flatMap(({ schema }) => search(schema, ''))
}

function operations({ paths }: Document) {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  )
}

await t.test(
  'the description contains every route with its permission, credentials and errors',
  async (t) => {
    const described = new Map<string, Operation>()
    const registered: { name: string; permission: string }[] = []
    const replica = await startReplica(t, {
      extend: (app) => {
        app.addHook('onRoute', (route) => {
          // HEAD and preflights follow from GET.
          if (!route.url.startsWith('/api') || ['HEAD', 'OPTIONS'].includes(String(route.method))) return
          const path = route.url.replace(/:([a-z_]+)/g, '{$1}').replace(/(.)\/$/, '$1')
          registered.push({
            name: `${String(route.method)} ${path}`,
            permission: String(route.config?.permission),
          })
        })
      },
    })
    const { json } = await replica.call(null, 'GET /openapi.json')
    t.equal(json.openapi, '3.1.0')
    for (const { path, method, operation } of operations(json as Document))
      described.set(`${method} ${path}`, operation)
    t.ok(registered.length >= 26)
    for (const { name, permission } of registered) {
      const operation = described.get(name)
      t.equal(operation?.['x-permission'], permission, name)
      t.equal(operation?.security.length, permission === 'public' ? 0 : 1, name)
      const statuses = Object.keys(operation?.responses ?? {})
      const expected = permission === 'public' ? ['429', '500', '503'] : ['401', '429', '500', '503']
      for (const status of expected) t.ok(statuses.includes(status), `${name}: ${status}`)
      t.equal(statuses.includes('403'), permission !== 'public', `${name}: 403`)
    }
    const ids = [...described.values()].map(({ operationId }) => operationId)
    t.equal(new Set(ids).size, ids.length, 'ids are unique')
  },
)

await t.test('every example in the description works', async (t) => {
  const { document, replica } = await start(t)
  const { token } = await newKey(replica)
  let replayed = 0
  for (const { path, method, operation } of operations(document)) {
    const media = operation.requestBody?.content['application/json']
    if (!media) continue
    const many = Object.values(media.examples ?? {}).map(({ value }) => value)
    const examples = media.example === undefined ? many : [media.example]
    t.ok(examples.length > 0, `${method} ${path} has an example`)
    for (const example of examples) {
      // Creates the resources of all paths, with the id 1.
      await sql`truncate monitors, incidents, maintenances restart identity cascade`.execute(replica.db)
      const { id } = await newKey(replica)
      await replica.call(token, 'POST /api/monitors', { tag: 'website', name: 'Website' })
      await replica.call(token, 'POST /api/incidents', { title: 'Incident', comment: 'Comment' })
      const when = { starts_at: '2999-01-01T00:00:00Z', duration_seconds: 60 }
      await replica.call(token, 'POST /api/maintenances', { title: 'Maintenance', ...when })
      const url = path.replace(/\{([a-z_]+)\}/g, (_, name: string) => {
        if (path.startsWith('/api/keys')) return id
        return name.endsWith('tag') ? 'website' : '1'
      })
      if (operation.operationId === 'createMonitor') await replica.call(token, 'DELETE /api/monitors/website')
      // A key that rotates or revokes itself is not used again.
      const caller = path.startsWith('/api/me/') ? (await newKey(replica)).token : token
      const reply = await replica.call(caller, `${method as 'POST'} ${url}`, example)
      t.ok(reply.statusCode < 300, `${method} ${url} ${JSON.stringify(example)}: ${reply.body}`)
      replayed++
    }
  }
  t.ok(replayed >= 10)
})

await t.test('every field, parameter and response is described, and has a valid example', async (t) => {
  const { document } = await start(t)
  const undescribed = operations(document).flatMap(({ path, method, operation }) =>
    [
      ...(operation.parameters ?? []).filter(({ description }) => !description).map(({ name }) => name),
      ...undescribedFields(operation.requestBody?.content),
      ...Object.entries(operation.responses).flatMap(([status, { $ref, description, content }]) => [
        ...($ref || (description && description !== 'Default Response') ? [] : [status]),
        ...undescribedFields(content),
      ]),
    ].map((name) => `${method} ${path}: ${name}`),
  )
  t.same(undescribed, [])
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  ajv.addSchema({ ...document, $id: 'openapi' })
  let checked = 0
  const replies = [
    ...operations(document).map(({ path, method, operation }) => ({
      name: `${method} ${path}`,
      place: ['paths', path, method.toLowerCase(), 'responses'],
      replies: operation.responses,
    })),
    { name: 'failures', place: ['components', 'responses'], replies: document.components.responses },
  ]
  for (const { name, place, replies: all } of replies) {
    for (const [status, { content }] of Object.entries(all)) {
      const media = content?.['application/json']
      if (!media) continue
      const pointer = [...place, status, 'content', 'application/json', 'schema']
        .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
        .join('/')
      const validate = ajv.getSchema(`openapi#/${pointer}`)
      t.ok(validate?.(media.example), `${name} ${status}: ${ajv.errorsText(validate?.errors)}`)
      checked++
    }
  }
  t.ok(checked > operations(document).length, `${checked} examples`)
})

await t.test(
  'every route rejects an ambiguous Host, also the probes, and the description says so',
  async (t) => {
    const { replica } = await start(t)
    // replica.call compares the response with the description.
    for (const path of ['/healthz', '/readyz', '/api/status']) {
      const reply = await replica.call(null, `GET ${path}`, undefined, { headers: { host: 'one,two' } })
      t.equal(reply.json.error.code, 'INVALID_REQUEST', path)
      t.equal(reply.statusCode, 400, path)
    }
  },
)

await t.test('the permission is also the role of the security requirement', async (t) => {
  const { document } = await start(t)
  for (const { path, method, operation } of operations(document)) {
    const permission = operation['x-permission']
    const expected = { public: [], 'any-key': [{ key: [] }] }[permission] ?? [{ key: [permission] }]
    t.same(operation.security, expected, `${method} ${path}`)
  }
})

await t.test('/docs loads everything from this origin, under a strict content security policy', async (t) => {
  const { replica } = await start(t)
  for (const path of ['/docs', '/docs/']) {
    const page = await replica.app.inject(path)
    t.equal(page.statusCode, 200)
    t.match(page.headers, { 'content-type': /^text\/html/, 'cache-control': 'no-cache' })
    const policy = String(page.headers['content-security-policy'])
    t.match(policy, /default-src 'none';script-src 'self';style-src 'self';.*connect-src 'self'/)
    t.notMatch(policy, /unsafe|https?:/)
    t.notMatch(page.body, /<script>|<style|style=|(https?:)?\/\//)
  }
})

await t.test(
  '/llms.txt lists the documentation, which is served as Markdown without broken links',
  async (t) => {
    const { replica } = await start(t)
    const get = (url: string, headers = {}) =>
      replica.app.inject({ url, headers: { host: 'status.test', ...headers } })
    const list = await get('/llms.txt')
    t.match(list.headers, { 'content-type': 'text/markdown; charset=utf-8', 'cache-control': 'no-cache' })
    t.match(list.body, /^# kener-api\n\n> /)
    const links = [...list.body.matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link)
    t.ok(links.length >= 10)
    for (const link of links) {
      const { pathname } = new URL(link)
      t.equal(link, `http://status.test${pathname}`)
      const reply = await get(pathname)
      t.equal(reply.statusCode, 200, pathname)
      const again = await get(pathname, { 'if-none-match': reply.headers.etag })
      t.equal(again.statusCode, 304, pathname)
      if (!pathname.endsWith('.md')) continue
      t.match(reply.headers, { 'content-type': 'text/markdown; charset=utf-8', 'cache-control': 'no-cache' })
      t.match(reply.body, /^# /)
      for (const [, target = ''] of reply.body.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
        t.ok(
          /^https?:/.test(target) || links.includes(`http://status.test/docs/${target}`),
          `${pathname}: ${target}`,
        )
      }
    }
    t.equal((await get('/llms.txt', { 'if-none-match': list.headers.etag })).statusCode, 304)
    t.equal((await get('/llms.txt', { host: 'a b' })).statusCode, 400)
  },
)

await t.test('the files of /docs are compressed, and cached for a year by their hashed names', async (t) => {
  const { replica } = await start(t)
  const { body } = await replica.app.inject('/docs')
  const names = [...body.matchAll(/"(\/docs\/[^"]+)"/g)].map(([, name = '']) => name)
  t.equal(names.length, 4)
  for (const url of names) {
    t.match(url, /\.[0-9a-f]{16}\.(js|css)$/)
    const get = (encoding: string) => replica.app.inject({ url, headers: { 'accept-encoding': encoding } })
    const plain = await get('identity')
    t.equal(plain.headers['content-encoding'], undefined)
    for (const [accepted, encoding, decompress] of [
      ['gzip, deflate, br, zstd', 'br', brotliDecompressSync],
      ['gzip', 'gzip', gunzipSync],
    ] as const) {
      const reply = await get(accepted)
      t.match(reply.headers, {
        'content-type': plain.headers['content-type'],
        'content-encoding': encoding,
        'cache-control': 'public, max-age=31536000, immutable',
        vary: 'accept-encoding',
      })
      t.ok(decompress(reply.rawPayload).equals(plain.rawPayload), `${url} ${encoding}`)
    }
    for (const path of [`${url}.br`, url.replace(/\.[0-9a-f]{16}/, '')])
      t.equal((await replica.app.inject(path)).statusCode, 404, path)
  }
})

await t.test('/openapi.json is compressed, and a matching If-None-Match is 304', async (t) => {
  const { replica, document } = await start(t)
  const get = (headers: object) => replica.app.inject({ url: '/openapi.json', headers: { ...headers } })
  const reply = await get({ 'accept-encoding': 'gzip, deflate, br' })
  t.match(reply.headers, {
    'content-type': 'application/json; charset=utf-8',
    'content-encoding': 'gzip',
    'cache-control': 'public, max-age=30',
    vary: 'accept-encoding',
  })
  t.same(JSON.parse(gunzipSync(reply.rawPayload).toString()), document)
  const plain = await get({ 'accept-encoding': 'gzip;q=0' })
  t.equal(plain.headers['content-encoding'], undefined)
  t.same(plain.json(), document)
  const again = await get({ 'if-none-match': reply.headers.etag })
  t.equal(again.statusCode, 304)
  t.equal(again.body, '')
})

await t.test('a route under /api without operationId or summary is a boot error', async (t) => {
  for (const schema of [{}, { operationId: 'read' }, { summary: 'Read' }]) {
    const extend = (app: Replica['app']) => {
      app.register(async (scope) => {
        scope.get('/api/undescribed', { config: { permission: 'any-key' }, schema }, () => '')
      })
    }
    await t.rejects(startReplica(t, { extend }), { message: /\/api\/undescribed.*operationId/ })
  }
})

await t.test('the version is that of package.json', async (t) => {
  const { document } = await start(t)
  const file = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(file) as { version: string }
  t.match(document, { info: { version } })
})

await t.test('no example in the description contains a key', async (t) => {
  const { document } = await start(t)
  t.notMatch(JSON.stringify(document), /kener_[0-9A-Za-z]{16}_/)
})

await t.test('every schema of a route is valid JSON Schema, which is not checked at the start', async (t) => {
  const ajv = new Ajv2020()
  let checked = 0
  await startReplica(t, {
    extend: (app) => {
      app.addHook('onRoute', ({ method, url, schema }) => {
        const { body, querystring, params, response } = schema ?? {}
        for (const one of [body, querystring, params, ...Object.values(response ?? {})]) {
          if (one === undefined) continue
          checked++
          t.ok(ajv.validateSchema(one), `${String(method)} ${url}: ${ajv.errorsText()}`)
        }
      })
    },
  })
  t.ok(checked > 100, `${String(checked)} schemas`)
})
