import t from 'tap'
import { sql } from 'kysely'
import { type Access, allows, type Permission } from '../../src/permissions.ts'
import { createDatabase, newKey, startReplica } from '../helper.ts'
import { logIn, readHidden, type Visitor } from '../visitor.ts'

/** The requests of the API that read or change the same as a page or a form, by path. `any-key`: a page for every key. */
const equivalents: [path: RegExp, get: string, post: string][] = [
  [/^$/, 'any-key', 'any-key'],
  [/^\/account$/, 'any-key', 'any-key'],
  [/^\/account\/log-out-everywhere$/, 'any-key', 'any-key'],
  [/^\/monitors$/, 'GET /api/monitors', ''],
  [/^\/monitors\/new$/, 'write:monitors', 'POST /api/monitors'],
  [/^\/monitors\/:tag$/, 'GET /api/monitors/:tag', ''],
  [/^\/monitors\/:tag\/delete$/, 'DELETE /api/monitors/:tag', 'DELETE /api/monitors/:tag'],
  [/^\/monitors\/:tag\/.+$/, 'PATCH /api/monitors/:tag', 'PATCH /api/monitors/:tag'],
  [/^\/(incidents|maintenances)$/, 'GET /api/$1', ''],
  [/^\/(incidents|maintenances)\/new$/, 'write:incidents', 'POST /api/$1'],
  [/^\/(incidents|maintenances)\/:id$/, 'GET /api/$1/:id', ''],
  [/^\/(incidents|maintenances)\/:id\/delete$/, 'DELETE /api/$1/:id', 'DELETE /api/$1/:id'],
  [/^\/incidents\/:id\/comments$/, '', 'POST /api/incidents/:id/comments'],
  [
    /^\/incidents\/:id\/comments\/.+$/,
    'PATCH /api/incidents/:id/comments/:id',
    'PATCH /api/incidents/:id/comments/:id',
  ],
  [/^\/(incidents|maintenances)\/:id\/.+$/, 'PATCH /api/$1/:id', 'PATCH /api/$1/:id'],
  [/^\/settings(\/.*)?$/, 'GET /api/keys', 'GET /api/keys'],
  [/^\/audit$/, 'GET /api/audit', ''],
]

const url = await createDatabase(t)
type Route = { method: string; path: string; permission: Access | undefined }
const routes: Route[] = []
const replica = await startReplica(t, {
  url,
  extend: (app) => {
    app.addHook('onRoute', ({ url, method, config }) => {
      const path = url.replace(/^\/manage(?=\/|$)/, '').replace(/\/$/, '')
      if (!url.startsWith('/manage') || /^\/(login|logout|assets)/.test(path)) return
      if (method === 'GET' || method === 'POST') routes.push({ method, path, permission: config?.permission })
    })
  },
})
const { app, call, db } = replica
const admin = (await newKey(replica, { name: 'secret-key-name' })).token

// Each of the two monitors has an incident with a comment and a maintenance, which have its number.
const tags = ['own-1', 'foreign-2']
for (const tag of tags) {
  await call(admin, 'POST /api/monitors', { tag, name: `Name of ${tag}` })
  await call(admin, `POST /api/monitors/${tag}/data`, { status: 'DOWN' })
  await call(admin, `POST /api/monitors/${tag}/heartbeat`)
  const monitors = [{ monitor_tag: tag, impact: 'DOWN' }]
  await call(admin, 'POST /api/incidents', {
    title: `Incident of ${tag}`,
    monitors,
    comment: `Comment of ${tag}`,
  })
  await call(admin, 'POST /api/maintenances', {
    title: `Maintenance of ${tag}`,
    starts_at: new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, ''),
    duration_seconds: 7_200,
    monitors: [{ monitor_tag: tag }],
  })
}

await call(admin, 'POST /api/monitors', { tag: 'own-hidden', name: 'Hidden name', hidden: true })

/** Sends a request that is rejected after its permission was checked, so that it changes nothing. */
async function isAllowedByApi(token: string, permissions: Permission[], equivalent: string, index: number) {
  if (!equivalent.includes(' ')) return allows(permissions, equivalent as Access)
  const route = fill(equivalent, index) as 'GET /api/me'
  const isRead = route.startsWith('GET')
  const named = { tag: 'own-1', monitors: [{ monitor_tag: 'own-1' }] }
  const body = { ...(route.startsWith('POST') && named), unknown: true }
  const reply = await call(token, route, isRead ? undefined : body, { headers: { 'if-match': '"none"' } })
  return reply.statusCode !== 403
}

function fill(path: string, index: number): string {
  return path
    .replaceAll(/:(id|comment_id|event_id)/g, String(index + 1))
    .replaceAll(':tag', tags[index] ?? '')
}

const keys: [name: string, permissions: Permission[], monitors: string[] | null][] = [
  ['reads bound monitors', ['read:monitors'], ['own-*']],
  ['reads bound monitors and incidents', ['read:monitors', 'read:incidents'], ['own-*']],
  ['reads incidents', ['read:incidents'], null],
  ['writes bound incidents', ['write:incidents'], ['own-*']],
  ['writes bound monitors', ['write:monitors'], ['own-*']],
  ['deletes bound monitors', ['delete:monitors'], ['own-*']],
  [
    'does everything but admin, bound',
    ['read:monitors', 'write:monitors', 'delete:monitors', 'read:incidents', 'write:incidents'],
    ['own-*'],
  ],
  ['has no permissions', [], null],
]

const readForeign = async () =>
  Promise.all(
    ['monitors/foreign-2', 'incidents/2', 'maintenances/2', 'maintenances/2/events'].map(
      async (path) => (await call(admin, `GET /api/${path}`)).json.data as unknown,
    ),
  )

for (const [name, permissions, monitors] of keys) {
  await t.test(`a key that ${name} may open and send in the panel what it may in the API`, async (t) => {
    const { token, id } = await newKey(replica, {
      name,
      permissions: permissions.length > 0 ? permissions : ['read:monitors'],
      monitors,
    })
    const visitor = await logIn(app, token)
    if (permissions.length === 0) {
      await sql`alter table api_keys drop constraint if exists api_keys_permissions_check`.execute(db)
      await sql`update api_keys set permissions = '{}' where id = ${id}`.execute(db)
    }
    for (const tag of tags) await call(admin, `POST /api/monitors/${tag}/heartbeat`)
    const before = await readForeign()
    const csrf = readHidden((await visitor.get('/manage')).body, '/manage/logout')
    let count = 0
    for (const { method, path } of routes) {
      const found = equivalents.find(([pattern]) => pattern.test(path))
      t.ok(found, `${path} has an equivalent in this test`)
      const [pattern, get, post] = found ?? [/^/, '', '']
      const equivalent = path.replace(pattern, method === 'GET' ? get : post)
      if (path === '/account/log-out-everywhere') continue
      for (const index of path.includes(':') ? [0, 1] : [0]) {
        const isForeign = monitors !== null && index === 1
        const expected = !isForeign && (await isAllowedByApi(token, permissions, equivalent, index))
        const reply = await send(visitor, method, `/manage${fill(path, index)}`, csrf)
        const title = `${method} ${path} of ${tags[index]} as ${equivalent}: ${reply.statusCode}`
        t.equal(![403, 404].includes(reply.statusCode), expected, title)
        if (monitors)
          t.notMatch(withoutOwnUrl(reply.body), /foreign-2/, `${title} shows nothing of other monitors`)
        t.notMatch(reply.body, /secret-key-name/, `${title} shows no other key`)
        if (!permissions.includes('read:monitors')) t.notMatch(reply.body, /Hidden name/, title)
        count++
      }
    }
    t.ok(count > 60, `${count} requests`)
    t.same(await readForeign(), before, 'what affects other monitors has not changed')
    const { body } = await visitor.get('/manage')
    for (const [section, permission] of Object.entries({
      monitors: 'read:monitors',
      incidents: 'read:incidents',
      maintenances: 'read:incidents',
      settings: 'admin',
      audit: 'admin',
    } as const)) {
      const isLinked = body.includes(`href="/manage/${section}"`)
      t.equal(isLinked, permissions.includes(permission), `the navigation and ${section}`)
    }
  })
}

/** Sends a form that names a monitor of the key. */
async function send(visitor: Visitor, method: Route['method'], path: string, csrf: Record<string, string[]>) {
  return method === 'GET'
    ? visitor.get(path)
    : visitor.post(path, { ...csrf, version: 'none', tag: 'own-1', 'impact:own-1': 'DOWN' })
}

/** Error messages name the tag that was requested. */
function withoutOwnUrl(body: string): string {
  return body.replaceAll('may not use the monitor foreign-2', '')
}
