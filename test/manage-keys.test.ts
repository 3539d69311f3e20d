import t, { type Test } from 'tap'
import { keyAlreadyCreated } from '../src/errors.ts'
import type { Permission } from '../src/permissions.ts'
import {
  createDatabase,
  expire,
  isErrorReply,
  isWaitingForLock,
  newKey,
  startReplica,
  times,
  waitUntil,
} from './helper.ts'
import { keyIn, logIn, readHidden, visit } from './visitor.ts'

const keys = '/manage/settings/api-keys'

async function start(t: Test) {
  const replica = await startReplica(t)
  const admin = await newKey(replica, { name: 'boss' })
  const visitor = await logIn(replica.app, admin.token)
  const read = async (id: string) => (await replica.call(admin.token, `GET /api/keys/${id}`)).json.data
  const list = async () => (await replica.call(admin.token, 'GET /api/keys')).json.data
  return { replica, admin, visitor, read, list }
}

await t.test('a key created by the form works and has the submitted attributes', async (t) => {
  const { replica, visitor, read } = await start(t)
  const page = await visitor.submit(`${keys}/new`, {
    name: ' monitoring-service ',
    permissions: ['read:monitors', 'write:incidents'],
    expiry: 'date',
    expiry_date: '2999-12-31',
    rate_limit: '7',
    description: ' Line 1\r\nLine 2 ',
    monitors: 'website, payments-*\r\n\r\napi',
    allowed_ips: '127.0.0.1\r\n2001:db8::/32',
  })
  t.equal(page.statusCode, 201)
  t.match(page.body, 'won’t be shown again')
  const text = keyIn(page) ?? ''
  t.match(page.body, `curl -X GET http://localhost:80/api/me -H &quot;Authorization: Bearer ${text}&quot;`)
  const me = await replica.call(text, 'GET /api/me')
  t.match(me.json.data, {
    key_name: 'monitoring-service',
    permissions: ['read:monitors', 'write:incidents'],
    expires_at: '2999-12-31T23:59:59Z',
    rate_limit: 7,
    description: 'Line 1\nLine 2',
    monitors: ['website', 'payments-*', 'api'],
    allowed_ips: ['127.0.0.1', '2001:db8::/32'],
  })
  t.ok(
    replica.log.some(
      ({ event, subjectKeyId }) => event === 'key_created' && subjectKeyId === me.json.data.id,
    ),
  )
  const details = await visitor.get(`${keys}/${me.json.data.id}`)
  t.equal(keyIn(details), undefined, 'the details do not show the key')
  t.equal((await read(me.json.data.id)).status, 'active')
})

/** A clock that is 1 hour behind. */
class SlowClock extends Date {
  constructor(...args: [] | [string | number]) {
    super(...((args.length > 0 ? args : [SlowClock.now()]) as [number]))
  }

  static override now(): number {
    return super.now() - 3_600_000
  }
}

await t.test('the panel uses the clock of the database, not that of the process', async (t) => {
  const { visitor, read } = await start(t)
  t.intercept(globalThis, 'Date', { value: SlowClock })
  const fields = { name: 'n', permissions: 'read:monitors', expiry: '30' }
  const id = (keyIn(await visitor.submit(`${keys}/new`, fields)) ?? '').slice(6, 22)
  const { created_at, expires_at } = await read(id)
  t.ok(Math.abs(Date.parse(expires_at) - Date.parse(created_at) - 30 * 86_400_000) < 60_000)
  t.match((await visitor.get(`${keys}/${id}`)).body, /Created.*?just now.*?Last use/s)
})

await t.test('a form submitted twice creates one key and shows it once', async (t) => {
  const { visitor, list } = await start(t)
  const { body } = await visitor.get(`${keys}/new`)
  const fields = { ...readHidden(body, `${keys}/new`), name: 'once', permissions: 'read:monitors' }
  const replies = [await visitor.post(`${keys}/new`, fields), await visitor.post(`${keys}/new`, fields)]
  t.same(
    replies.map(({ statusCode }) => statusCode),
    [201, 409],
  )
  t.same(
    replies.map((reply) => keyIn(reply) !== undefined),
    [true, false],
  )
  t.match(replies[1]?.body, keyAlreadyCreated().message)
  const created = await list()
  t.equal(created.filter(({ name }: { name: string }) => name === 'once').length, 1)
  const { body: raceBody } = await visitor.get(`${keys}/new`)
  const same = { ...readHidden(raceBody, `${keys}/new`), name: 'race', permissions: 'admin' }
  const race = await Promise.all([1, 2, 3].map(() => visitor.post(`${keys}/new`, same)))
  t.same(race.map(({ statusCode }) => statusCode).sort(), [201, 409, 409])
})

await t.test('an invalid field has its message next to it, and the submitted values are kept', async (t) => {
  const { visitor, list } = await start(t)
  const valid = { name: 'kept-name', permissions: ['read:monitors'] }
  const cases: [fields: Record<string, string | string[]>, id: string, message: RegExp][] = [
    [{ ...valid, name: '  ' }, 'name', /Enter a name/],
    [{ ...valid, name: 'x'.repeat(101) }, 'name', /1 to 100/],
    [{ ...valid, permissions: [] }, 'permissions', /at least one/],
    [{ ...valid, permissions: ['read:everything'] }, 'permissions', /at least one of these/],
    [{ ...valid, rate_limit: '0' }, 'rate-limit', /whole number/],
    [{ ...valid, rate_limit: '1.5' }, 'rate-limit', /whole number/],
    [{ ...valid, rate_limit: 'a lot' }, 'rate-limit', /whole number/],
    [{ ...valid, expiry: 'date' }, 'expiry', /Enter a date/],
    [{ ...valid, expiry: 'date', expiry_date: '2027-02-30' }, 'expiry', /Enter a date/],
    [{ ...valid, expiry: 'date', expiry_date: '2020-01-01' }, 'expiry', /date in the future/],
    [{ ...valid, expiry: '30', expiry_date: '2999-01-01' }, 'expiry', /On a date/],
    [{ ...valid, expiry: 'tomorrow' }, 'expiry', /from the list/],
    [{ ...valid, expiry: 'keep' }, 'expiry', /from the list/],
    [{ ...valid, description: 'x'.repeat(1_001) }, 'description', /at most 1,000/],
    [{ ...valid, monitors: 'website\nMy Site, *' }, 'monitors', /^“My Site” is not a tag.*\n“\*” is not/],
    [{ ...valid, monitors: 'x'.repeat(256) }, 'monitors', /^“x{60}…” is not a tag[^“]*$/],
    [{ ...valid, monitors: 'a\n'.repeat(101) }, 'monitors', /at most 100/],
    [{ ...valid, allowed_ips: '127.0.0.1\n10.0.0.0/33' }, 'allowed-ips', /^“10.0.0.0\/33” is not an address/],
    [{ ...valid, permissions: ['admin'], monitors: 'website' }, 'monitors', /may use all monitors/],
  ]
  const hidden = readHidden((await visitor.get(`${keys}/new`)).body, `${keys}/new`)
  for (const [fields, id, message] of cases) {
    const { statusCode, body } = await visitor.post(`${keys}/new`, { ...hidden, ...fields })
    t.equal(statusCode, 400, JSON.stringify(fields))
    const [, shown = ''] = new RegExp(`id="${id}-error">([^<]*)</p>`).exec(body) ?? []
    t.match(shown, message)
    t.match(
      body,
      new RegExp(`id="${id}"[^>]*aria-describedby="${id}-error`),
      'the control refers to its message',
    )
    if (fields.name === 'kept-name') t.match(body, 'value="kept-name"')
    if (fields.rate_limit !== undefined) t.match(body, `value="${String(fields.rate_limit)}"`)
    if (fields.permissions?.includes('read:monitors')) t.match(body, /value="read:monitors" checked/)
    for (const name of ['description', 'monitors', 'allowed_ips']) {
      const [, entered] = new RegExp(`<textarea[^>]*name="${name}"[^>]*>([^<]*)<`).exec(body) ?? []
      t.equal(entered, String(fields[name] ?? '').trim())
    }
  }
  t.equal((await list()).length, 1, 'no key was created')
})

await t.test('a rejected form can be corrected and submitted again', async (t) => {
  const { visitor } = await start(t)
  const rejected = await visitor.submit(`${keys}/new`, { name: 'corrected' })
  const hidden = readHidden(rejected.body, `${keys}/new`)
  const page = await visitor.post(`${keys}/new`, { ...hidden, name: 'corrected', permissions: 'admin' })
  t.ok(keyIn(page))
})

await t.test('expiry: presets count from now, a date includes its whole day, "never" is null', async (t) => {
  const { visitor, list } = await start(t)
  const create = async (fields: Record<string, string>) => {
    const page = await visitor.submit(`${keys}/new`, { name: 'e', permissions: 'admin', ...fields })
    t.equal(page.statusCode, 201)
    return (await list())[0].expires_at
  }
  t.equal(await create({ expiry: 'never' }), null)
  t.equal(
    await create({ expiry: 'never', expiry_date: '2999-01-01' }),
    '2999-01-01T23:59:59Z',
    'a date next to "never", as sent without JavaScript',
  )
  for (const days of [7, 30, 90, 365]) {
    const daysLeft = (Date.parse(await create({ expiry: String(days) })) - Date.now()) / 86_400_000
    t.ok(Math.abs(daysLeft - days) < 0.01, `${days} days`)
  }
})

await t.test('an edit changes the submitted fields and keeps the expiry to the second', async (t) => {
  const { replica, visitor, read } = await start(t)
  const expiresAt = new Date('2999-01-02T03:04:05Z')
  const { id, token } = await newKey(replica, { name: 'before', expiresAt, rateLimit: 9 })
  const { body } = await visitor.get(`${keys}/${id}`)
  t.match(body, /value="keep" selected/)
  t.match(body, /value="9"/)
  const saved = await visitor.submit(`${keys}/${id}`, {
    name: 'after',
    permissions: ['read:incidents'],
    expiry: 'keep',
    rate_limit: '',
  })
  t.equal(saved.headers.location, `${keys}/${id}?notice=saved`)
  t.match(await read(id), {
    name: 'after',
    permissions: ['read:incidents'],
    expires_at: '2999-01-02T03:04:05Z',
    rate_limit: null,
  })
  t.equal(
    (await replica.call(token, 'GET /api/monitors')).statusCode,
    403,
    'the new permissions apply at once',
  )
  for (const expiry of [{ expiry: 'date', expiry_date: '2020-01-01' }, { expiry: 'gone' }]) {
    const invalid = await visitor.submit(`${keys}/${id}`, {
      name: 'invalid',
      permissions: ['admin'],
      ...expiry,
    })
    t.equal(invalid.statusCode, 400, 'an invalid expiry changes nothing')
  }
  t.equal((await read(id)).name, 'after')
  const rejected = await visitor.submit(`${keys}/${id}`, { name: '', permissions: ['admin'] })
  t.equal(rejected.statusCode, 400)
  t.match(rejected.body, 'Enter a name')
})

await t.test(
  'an edit form never overwrites a newer change, and shows it next to what was entered',
  async (t) => {
    const { replica, admin, visitor, read } = await start(t)
    const { id, token } = await newKey(replica, {
      name: 'before',
      permissions: ['read:monitors', 'write:monitors'],
      expiresAt: new Date('2999-01-02T03:04:05Z'),
    })
    const path = `${keys}/${id}`
    const hidden = readHidden((await visitor.get(path)).body, path)
    const narrowed = { permissions: ['read:monitors'], expires_at: '2888-08-08T08:08:08Z' }
    t.equal((await replica.call(admin.token, `PATCH /api/keys/${id}`, narrowed)).statusCode, 200)
    const entered = {
      name: 'after',
      permissions: ['read:monitors', 'write:monitors'],
      expiry: 'date',
      expiry_date: '2999-01-03',
    }
    const conflict = await visitor.post(path, { ...hidden, ...entered })
    t.equal(conflict.statusCode, 412)
    t.match(conflict.body, 'was changed after you opened the form')
    t.match(conflict.body, /id="permissions-error">Saved: read:monitors</)
    t.match(conflict.body, /id="expiry-error">Saved: 8 Aug 2888, 08:08 UTC</)
    t.match(conflict.body, /value="write:monitors" checked/, 'the entered values are kept')
    t.match(await read(id), { name: 'before', ...narrowed })
    t.equal((await replica.call(token, 'POST /api/monitors', {})).statusCode, 403, 'no permission comes back')
    const invalid = { ...hidden, ...entered, name: '' }
    t.equal(
      (await visitor.post(path, invalid)).statusCode,
      412,
      'the conflict is shown before invalid fields',
    )

    const again = { ...readHidden(conflict.body, path), ...entered }
    t.equal((await visitor.post(path, again)).statusCode, 303, 'saving again is a decision')
    t.match(await read(id), { name: 'after', permissions: entered.permissions })

    await visitor.submit(`${path}/revoke`, {})
    t.equal((await visitor.post(path, again)).statusCode, 409, 'a key that was revoked since')
  },
)

await t.test('an edit that waits for a concurrent change does not overwrite it', async (t) => {
  const { replica, visitor, read } = await start(t)
  const { id } = await newKey(replica, { name: 'before' })
  const path = `${keys}/${id}`
  const { body } = await visitor.get(path)
  // A PATCH in flight holds the row while the form is saved.
  const patch = await replica.db.startTransaction().execute()
  t.teardown(() => (patch.isCommitted ? undefined : patch.rollback().execute()))
  await patch.updateTable('api_keys').set({ name: 'newer' }).where('id', '=', id).execute()
  const fields = { name: 'after', permissions: 'read:incidents', expiry: 'keep' }
  const saving = visitor.post(path, { ...readHidden(body, path), ...fields })
  await waitUntil(() => isWaitingForLock(replica.db))
  await patch.commit().execute()
  const conflict = await saving
  t.equal(conflict.statusCode, 412)
  t.match(conflict.body, /id="name-error">Saved: newer</)
  t.equal((await read(id)).name, 'newer')
})

await t.test('a form that is saved unchanged writes nothing', async (t) => {
  const { replica, visitor } = await start(t)
  const before = { name: 'n', permissions: ['write:monitors', 'read:monitors'] as Permission[] }
  const { id } = await newKey(replica, { ...before, monitors: ['b', 'a'], rateLimit: 9 })
  const row = () => replica.db.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirst()
  const stored = await row()
  const fields = { ...before, monitors: 'a, b', rate_limit: '9', expiry: 'keep' }
  const saved = await visitor.submit(`${keys}/${id}`, fields)
  t.equal(saved.headers.location, `${keys}/${id}?notice=unchanged`)
  t.same(await row(), stored)
  t.match((await visitor.get(String(saved.headers.location))).body, 'Nothing was changed')
})

await t.test('limits and rotations', async (t) => {
  const { replica, admin, visitor, read, list } = await start(t)

  await t.test('an edit cannot make a bound key admin, and cannot lock out its own session', async (t) => {
    const { id } = await newKey(replica, { name: 'n', permissions: ['read:monitors'], monitors: ['website'] })
    const bound = await visitor.submit(`${keys}/${id}`, {
      name: 'n',
      permissions: 'admin',
      expiry: 'keep',
      monitors: 'website',
    })
    t.equal(bound.statusCode, 400)
    t.match(bound.body, /id="permissions-error">[^<]*cannot be limited to monitors/)
    t.same((await read(id)).permissions, ['read:monitors'])
    const own = { name: 'boss', permissions: 'admin', expiry: 'keep' }
    const locked = await visitor.submit(`${keys}/${admin.id}`, { ...own, allowed_ips: '203.0.113.7' })
    t.equal(locked.statusCode, 400)
    t.match(locked.body, /id="allowed-ips-error">[^<]*your own address, 127\.0\.0\.1/)
    const saved = await visitor.submit(`${keys}/${admin.id}`, { ...own, allowed_ips: '127.0.0.0/8' })
    t.equal(saved.statusCode, 303)
    t.match((await visitor.get(String(saved.headers.location))).body, 'Changes saved')
  })

  await t.test('a key with the longest values can be created and edited', async (t) => {
    const fields = {
      name: '\u{1f511}'.repeat(100),
      description: '\u{1f511}'.repeat(1_000),
      permissions: 'read:monitors',
      monitors: Array<string>(100).fill('m'.repeat(255)).join('\r\n'),
      allowed_ips: Array<string>(50).fill('2001:db8:1111:2222:3333:4444:5555:6666/128').join('\r\n'),
    }
    const id = (keyIn(await visitor.submit(`${keys}/new`, fields)) ?? '').slice(6, 22)
    const edited = await visitor.submit(`${keys}/${id}`, { ...fields, monitors: 'website', expiry: 'keep' })
    t.equal(edited.statusCode, 303)
    t.match(await read(id), { description: fields.description, monitors: ['website'] })
  })

  await t.test('the details show limits, creator and last address, escaped', async (t) => {
    const page = await visitor.submit(`${keys}/new`, {
      name: 'n',
      permissions: 'read:monitors',
      description: '</textarea><script>alert(1)</script>',
      monitors: 'website',
    })
    const path = `${keys}/${(keyIn(page) ?? '').slice(6, 22)}`
    await replica.db
      .updateTable('api_keys')
      .set({ last_used_at: new Date(), last_used_address: '203.0.113.7' })
      .where('name', '=', 'n')
      .execute()
    const { body } = await visitor.get(path)
    t.match(body, new RegExp(`Created.*by <a href="${keys}/${admin.id}">boss</a>`))
    t.match(body, /Last use.*from <code>203\.0\.113\.7</)
    t.match(body, /<dt>Monitors<\/dt><dd><ul class="tags"><li class="tag">website</)
    t.match(body, /<dt>Addresses<\/dt><dd><span class="muted">Any</)
    t.notMatch(body, /<script>|<\/textarea><\/textarea>/)
    t.match((await visitor.get(keys)).body, /on <code>website<\/code>/)
    t.match((await visitor.get(`${keys}?q=ALERT(1)`)).body, path, 'the list is searched by description')
  })

  await t.test(
    'a rotated key and its successor link to each other; a revocation names what is active',
    async (t) => {
      const { id } = await newKey(replica, { name: 'first', permissions: ['read:monitors'] })
      const { body: form } = await visitor.get(`${keys}/${id}/rotate`)
      t.match(form, 'value="86400" selected')
      t.match(form, 'value="keep" selected')
      const rotate = async (of: string, fields: Record<string, string>) => {
        const page = await visitor.submit(`${keys}/${of}/rotate`, { overlap_seconds: '86400', ...fields })
        return (keyIn(page) ?? '').slice(6, 22)
      }
      const second = await rotate(id, { expiry: 'date', expiry_date: '2999-01-02' })
      t.equal((await list())[0].expires_at, '2999-01-02T23:59:59Z')
      const old = (await visitor.get(`${keys}/${id}`)).body
      t.match(old, new RegExp(`was rotated.*href="${keys}/${second}".*ends.*in 24 hours`))
      t.notMatch(old, `${keys}/${id}/rotate`, 'it cannot be rotated again')
      t.equal((await visitor.get(`${keys}/${id}/rotate`)).headers.location, `${keys}/${id}`)
      t.match((await visitor.get(`${keys}/${second}`)).body, new RegExp(`Replaces.*href="${keys}/${id}"`))
      const row = (await visitor.get(keys)).body.split('<tr').find((part) => part.includes(`data-id="${id}"`))
      t.match(row, `href="${keys}/${second}"`)
      t.notMatch(row, 'Rotate')

      const third = await rotate(second, { overlap_seconds: '0' })
      t.match((await visitor.get(`${keys}/${id}/revoke`)).body, third, 'before the revocation')
      await visitor.submit(`${keys}/${id}/revoke`, {})
      const revoked = (await visitor.get(`${keys}/${id}`)).body
      t.match(revoked, new RegExp(`its successor is active.*href="${keys}/${third}"`))
      t.notMatch(revoked, new RegExp(`<li><a href="${keys}/${second}`), 'the second key has expired')
      await visitor.submit(`${keys}/${third}/revoke`, {})
      t.notMatch((await visitor.get(`${keys}/${id}`)).body, 'is active.')
    },
  )
})

await t.test('with KEY_LIFETIME_MAX_DAYS, forms offer only expiries that are allowed', async (t) => {
  const replica = await startReplica(t, { config: { keyLifetimeMaxDays: 45 } })
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  const { id } = await newKey(replica, { permissions: ['read:monitors'] })
  const choices = async (path: string) =>
    [...(await visitor.get(path)).body.matchAll(/<option value="(\w+)"/g)].map(([, value]) => value)
  t.same(await choices(`${keys}/new`), ['latest', '7', '30', 'date'])
  t.same(await choices(`${keys}/${id}`), ['keep', 'latest', '7', '30', 'date'])
  t.same((await choices(`${keys}/${id}/rotate`)).slice(4), ['latest', '7', '30', 'date'])
  const fields = { name: 'n', permissions: 'read:monitors' }
  const late = await visitor.submit(`${keys}/new`, { ...fields, expiry: '365' })
  t.equal(late.statusCode, 400)
  t.match(late.body, /id="expiry-error">[^<]*at most 45 days/)
  const lateRotation = await visitor.submit(`${keys}/${id}/rotate`, { overlap_seconds: '0', expiry: '90' })
  t.equal(lateRotation.statusCode, 400)
  t.match(lateRotation.body, /id="expiry-error">[^<]*at most 45 days/)
  t.match(lateRotation.body, 'value="0" selected', 'the overlap is kept')
  for (const page of [
    await visitor.submit(`${keys}/new`, { ...fields, expiry: 'latest' }),
    await visitor.submit(`${keys}/${id}/rotate`, { overlap_seconds: '0', expiry: 'latest' }),
  ]) {
    const me = await replica.call(keyIn(page) ?? '', 'GET /api/me')
    const daysLeft = (Date.parse(me.json.data.expires_at) - Date.now()) / 86_400_000
    t.ok(Math.abs(daysLeft - 45) < 0.01)
  }
})

await t.test('revoking asks for confirmation, shows name and last use, and applies at once', async (t) => {
  const { replica, visitor } = await start(t)
  const { id, token } = await newKey(replica, { name: 'leaked' })
  const path = `${keys}/${id}/revoke`
  t.match((await visitor.get(path)).body, /Revoke leaked\?.*never been used/s)
  await replica.db
    .updateTable('api_keys')
    .set({ last_used_at: new Date(Date.now() - 7_200_000) })
    .execute()
  t.match((await visitor.get(path)).body, /Last used.*2 hours ago/s)
  t.equal((await replica.call(token, 'GET /api/me')).statusCode, 200, 'the confirmation page changes nothing')
  const reply = await visitor.submit(path, {})
  t.equal(reply.headers.location, `${keys}/${id}?notice=revoked`)
  isErrorReply(t, await replica.call(token, 'GET /api/me'), 401, 'KEY_REVOKED', 'after the revocation')
  const details = await visitor.get(String(reply.headers.location))
  t.match(details.body, 'rejected from now on')
  t.notMatch(details.body, 'name="permissions"', 'a revoked key cannot be edited')
  const { body } = await visitor.get(`${keys}/new`)
  const hidden = readHidden(body, `${keys}/new`)
  t.equal(
    (await visitor.post(`${keys}/${id}`, { ...hidden, name: 'x', permissions: 'admin' })).statusCode,
    409,
  )
})

await t.test('rotating shows the new key once, and the old key works for the overlap', async (t) => {
  const { replica, visitor, read } = await start(t)
  const { id, token } = await newKey(replica, {
    name: 'rotated',
    permissions: ['read:monitors'],
    rateLimit: 5,
  })
  const path = `${keys}/${id}/rotate`
  const { body } = await visitor.get(path)
  const fields = { ...readHidden(body, path), overlap_seconds: '3600' }
  const page = await visitor.post(path, fields)
  t.equal(page.statusCode, 201)
  const successor = keyIn(page) ?? ''
  t.match((await replica.call(successor, 'GET /api/me')).json.data, { key_name: 'rotated', rate_limit: 5 })
  t.equal((await replica.call(token, 'GET /api/me')).statusCode, 200)
  const before = await read(id)
  const again = await visitor.post(path, { ...fields, overlap_seconds: '0' })
  t.equal(again.statusCode, 409, 'a form submitted twice')
  t.equal(keyIn(again), undefined)
  t.same({ ...(await read(id)), last_used_at: null }, { ...before, last_used_at: null }, 'changes nothing')
  const successorPath = `${keys}/${successor.slice(6, 22)}/rotate`
  for (const overlap of ['', '-1', 'x', '604801']) {
    const rejected = await visitor.submit(successorPath, { overlap_seconds: overlap })
    t.equal(rejected.statusCode, 400, `overlap ${overlap}`)
    t.match(rejected.body, 'id="overlap-error"')
  }
  t.ok(keyIn(await visitor.submit(successorPath, { overlap_seconds: '0' })))
  isErrorReply(t, await replica.call(successor, 'GET /api/me'), 401, 'KEY_EXPIRED', 'without overlap')
})

await t.test('rotating the key of the session shows the new key, which can log in', async (t) => {
  const { replica, admin, visitor } = await start(t)
  const path = `${keys}/${admin.id}/rotate`
  t.match((await visitor.get(path)).body, 'Your session ends when the key expires')
  const page = await visitor.submit(path, { overlap_seconds: '0' })
  t.equal(page.statusCode, 201)
  t.equal((await visitor.get('/manage')).statusCode, 303)
  await logIn(replica.app, keyIn(page) ?? '')
})

await t.test('the panel gives no key a later expiry than that of the key that is logged in', async (t) => {
  const replica = await startReplica(t)
  const endless = await newKey(replica)
  const own = `${new Date(Date.now() + 3_600_000).toISOString().slice(0, 19)}Z`
  const expiring = await newKey(replica, { expiresAt: new Date(own) })
  const visitor = await logIn(replica.app, expiring.token)
  const created = await visitor.submit(`${keys}/new`, { name: 'n', permissions: 'admin', expiry: 'never' })
  const { expires_at } = (await replica.call(keyIn(created) ?? '', 'GET /api/me')).json.data
  t.equal(expires_at, own)
  const message = `must not be later than ${own}, when the calling key expires`
  for (const page of [
    await visitor.submit(`${keys}/new`, { name: 'n', permissions: 'admin', expiry: '7' }),
    await visitor.submit(`${keys}/${expiring.id}`, { name: 'n', permissions: 'admin', expiry: 'never' }),
    await visitor.submit(`${keys}/${endless.id}/rotate`, { overlap_seconds: '0' }),
  ]) {
    t.equal(page.statusCode, 400)
    t.match(page.body, message)
  }
})

await t.test('script in a name, an id or a search is escaped', async (t) => {
  const { replica, visitor } = await start(t)
  const name = `"><script>alert('x')</script><img src=x onerror=alert(1)>`
  const { id } = await newKey(replica, { name })
  const query = encodeURIComponent(name)
  const paths = [
    keys,
    `${keys}?q=${query}`,
    ...['', '/rotate', '/revoke'].map((end) => `${keys}/${id}${end}`),
  ]
  for (const path of [...paths, `${keys}/${query}`, `/manage/${query}`]) {
    const { body } = await visitor.get(path)
    t.notMatch(body, /<script>|<img src=x/, path)
  }
  t.match((await visitor.get(`${keys}/${id}`)).body, '&lt;script>alert')
  const created = await visitor.submit(`${keys}/new`, { name, permissions: 'admin' })
  t.notMatch(created.body, /<script>|<img src=x/)
  t.notMatch((await visit(replica.app).get(`/manage/login?next=${query}`)).body, /<script>|<img src=x/)
})

await t.test('the list finds keys by status, part of a name and id, on all pages', async (t) => {
  const { replica, visitor } = await start(t)
  for (let index = 0; index < 60; index++) await newKey(replica, { name: `key ${index}%_` })
  const { id } = await newKey(replica, { name: 'The Needle' })
  await replica.db
    .updateTable('api_keys')
    .set({ revoked_at: new Date() })
    .where('name', '=', 'key 3%_')
    .execute()
  const find = async (query: string) => namesIn((await visitor.get(`${keys}?${query}`)).body)
  t.same(await find('q=needle'), ['The Needle'])
  t.same(await find(`q=${id.slice(3, 12)}`), ['The Needle'])
  t.same(await find('status=revoked&q='), ['key 3%_'])
  t.same(await find('q=3%25_&status=active'), ['key 53%_', 'key 43%_', 'key 33%_', 'key 23%_', 'key 13%_'])
  t.match((await visitor.get(`${keys}?q=nothing+like+it`)).body, 'No keys match these filters')
  const first = (await visitor.get(keys)).body
  t.match(first, '1–50 of 62')
  const second = (await visitor.get(linkIn(first, 'Next'))).body
  t.match(second, '51–62 of 62')
  t.equal(new Set([...namesIn(first), ...namesIn(second)]).size, 62, 'two pages contain all keys')
  t.equal(linkIn(second, 'Next'), '')
  t.same(namesIn((await visitor.get(linkIn(second, 'Previous'))).body), namesIn(first), 'and back')
  for (const query of ['status=odd', 'sort=odd', 'cursor=xyz', `q=${'x'.repeat(101)}`]) {
    t.equal((await visitor.get(`${keys}?${query}`)).statusCode, 400, query)
  }
})

/** Returns the names of the keys that a list contains, in its order. */
function namesIn(body: string): string[] {
  return [...body.matchAll(/api-keys\/\w{16}" title="[^"]*">([^<]+)<\/a>/g)].map(([, name = '']) => name)
}

/** Returns the target of a link with this text, or ''. */
function linkIn(body: string, text: string): string {
  const [, href = ''] = new RegExp(`href="([^"]+)"[^>]*>${text}<`).exec(body) ?? []
  return href.replaceAll('&amp;', '&')
}

await t.test('tabs count the matching keys, and keep the search and the order', async (t) => {
  const { replica, visitor } = await start(t)
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000)
  const soon = await newKey(replica, { name: 'x-soon', expiresAt: inDays(5) })
  await newKey(replica, { name: 'x-later', expiresAt: inDays(20) })
  await expire(replica, (await newKey(replica, { name: 'x-expired' })).id)
  const gone = await newKey(replica, { name: 'x-gone', expiresAt: inDays(2) })
  await visitor.submit(`${keys}/${gone.id}/revoke`, {})
  const tabs = (body: string) =>
    [...body.matchAll(/>([A-Z][a-z ]+) <span class="number">(\d+)</g)].map(([, ...tab]) => tab)
  const counted = [
    ['All', '4'],
    ['Active', '2'],
    ['Expiring soon', '1'],
    ['Expired', '1'],
    ['Revoked', '1'],
  ]
  const { body } = await visitor.get(`${keys}?q=x-&sort=name`)
  t.same(tabs(body), counted)
  t.same(tabs((await visitor.get(`${keys}?status=revoked`)).body)[0], ['All', '5'], 'without a search')
  const expiring = (await visitor.get(linkIn(body, 'Expiring soon '))).body
  t.same(namesIn(expiring), ['x-soon'])
  t.match(expiring, /aria-current="page">Expiring soon/)
  t.match(expiring, /aria-sort="ascending"><a href="[^"]*status=expiring&amp;q=x-&amp;sort=-name">Name/)
  t.match(expiring, /class="soon">.*?in 5 days/)
  t.notMatch((await visitor.get(`${keys}?q=later`)).body, 'class="soon"')
  const revoked = (await visitor.get(`${keys}?status=revoked`)).body
  t.match(revoked, /Revoked<\/span> <time[^>]*>just now/)

  await visitor.submit(`${keys}/${soon.id}/rotate`, { overlap_seconds: '3600' })
  const { body: rotated } = await visitor.get(`${keys}?status=expiring`)
  t.same(namesIn(rotated), ['x-soon'], 'the successor, but not the rotated key, which is meant to expire')
})

await t.test('selected keys are revoked together after a confirmation', async (t) => {
  const { replica, admin, visitor, read } = await start(t)
  const made = await times(3, (index) => newKey(replica, { name: `made ${index}` }))
  const [first, second, third] = made.map(({ id }) => id) as [string, string, string]
  await visitor.submit(`${keys}/${third}/revoke`, {})
  await replica.db
    .updateTable('api_keys')
    .set({ last_used_at: new Date(Date.now() - 7_200_000), last_used_address: '203.0.113.7' })
    .where('id', '=', first)
    .execute()
  const select = (...ids: string[]) =>
    `${keys}/revoke?${new URLSearchParams([['from', 'q=made&sort=name'], ...ids.map((id) => ['id', id])]).toString()}`
  const { body } = await visitor.get(select(first, second, third))
  t.match(body, 'Revoke 2 keys?')
  t.match(body, /made 0.*2 hours ago.*203\.0\.113\.7/s)
  t.match(body, 'Never used')
  t.notMatch(body, 'You are logged in with one of these keys')
  t.equal((await read(first)).status, 'active', 'the confirmation changes nothing')

  const hidden = readHidden(body, `${keys}/revoke`)
  t.same(hidden.id?.toSorted(), [first, second].toSorted())
  const unknown = { ...hidden, id: [first, 'x'.repeat(16)] }
  t.equal((await visitor.post(`${keys}/revoke`, unknown)).statusCode, 404)
  t.equal((await read(first)).status, 'active', 'all or none')
  const reply = await visitor.post(`${keys}/revoke`, { ...hidden, id: [first, second, third] })
  t.equal(reply.headers.location, `${keys}?q=made&sort=name&revoked=2&unchanged=1`)
  t.match(
    (await visitor.get(String(reply.headers.location))).body,
    /2 keys revoked\..*1 key had been revoked before/,
  )
  for (const { token } of made)
    isErrorReply(t, await replica.call(token, 'GET /api/me'), 401, 'KEY_REVOKED', 'each')
  const events = (await replica.call(admin.token, 'GET /api/audit?action=key.revoked')).json.data
  t.same(
    events.map(({ target }: { target: { id: string } }) => target.id).toSorted(),
    [first, second, third].toSorted(),
  )

  t.match((await visitor.get(select())).body, 'No keys are selected')
  t.match((await visitor.get(select(first))).body, 'are revoked already')
  t.equal((await visitor.get(select('nonsense'))).statusCode, 400)
  const many = Array.from({ length: 51 }, (_, index) => String(index).padStart(16, '0'))
  t.equal((await visitor.get(select(...many))).statusCode, 400)
  t.match((await visitor.get(select(admin.id))).body, 'You are logged in with one of these keys')
  await visitor.submit(select(admin.id), {}, `${keys}/revoke`)
  t.equal((await visitor.get(keys)).statusCode, 303, 'the session has ended')
})

await t.test('pages are not cached or framed, and only run scripts of the panel', async (t) => {
  const { replica, admin, visitor } = await start(t)
  const paths = ['/manage', keys, `${keys}/new`, `${keys}/${admin.id}`, '/manage/nothing']
  const replies = [
    ...(await Promise.all(paths.map((path) => visitor.get(path)))),
    await visitor.submit(`${keys}/new`, { name: 'x', permissions: 'admin' }),
    await visit(replica.app).get('/manage/login'),
  ]
  for (const { headers, body } of replies) {
    t.equal(headers['cache-control'], 'no-store')
    t.match(headers['content-security-policy'], /default-src 'none';script-src 'self'/)
    t.notMatch(headers['content-security-policy'], 'unsafe')
    t.match(headers['content-security-policy'], "frame-ancestors 'none'")
    t.equal(headers['x-frame-options'], 'DENY')
    t.notMatch(body, / style=| on\w+=|<style|<script(?! src="\/manage)/, 'nothing inline')
    t.notMatch(body, /(src|href)="(https?:)?\/\//, 'nothing from another origin')
  }
  t.equal(replies[4]?.statusCode, 404)
})

await t.test('a body that is not a form is rejected with 415 and a page about forms', async (t) => {
  const { replica, visitor } = await start(t)
  for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x']) {
    const headers = { cookie: visitor.cookie, 'content-type': type }
    const reply = await replica.app.inject({ method: 'POST', url: `${keys}/new`, headers, payload: '{}' })
    t.equal(reply.statusCode, 415, type)
    t.match(reply.headers['content-type'], 'text/html')
    t.match(reply.body, 'This is not a form')
    t.notMatch(reply.body, /json/i)
  }
})

await t.test('an asset has its content type and is revalidated', async (t) => {
  const { app } = await startReplica(t)
  for (const [name, type] of [
    ['manage.css', /css/],
    ['manage.js', /javascript/],
    ['icon.svg', /svg/],
  ] as const) {
    const { statusCode, headers } = await visit(app).get(`/manage/assets/${name}`)
    t.equal(statusCode, 200)
    t.match(headers['content-type'], type)
    t.equal(headers['cache-control'], 'no-cache')
    const again = await visit(app).get(`/manage/assets/${name}`, { 'if-none-match': String(headers.etag) })
    t.equal(again.statusCode, 304)
  }
  t.not((await visit(app).get('/manage/assets/%2e%2e/index.js')).statusCode, 200)
})

await t.test(
  'the overview counts the requests of all replicas and shows monitors and incidents',
  async (t) => {
    const url = await createDatabase(t)
    const [local, remote] = [await startReplica(t, { url }), await startReplica(t, { url })]
    const { token } = await newKey(local)
    const visitor = await logIn(local.app, token)
    t.match(
      (await visitor.get('/manage')).body,
      /No monitors yet.*No problems.*No key expires soon.*No requests in the last hour/s,
    )
    await remote.call(token, 'PUT /api/monitors/shop', { name: 'Shop <b>' })
    await remote.call(token, 'PUT /api/monitors/off', { name: 'Switched off', enabled: false })
    await remote.call(token, 'PUT /api/monitors/back', { name: 'Backstage', hidden: true })
    await remote.call(token, 'POST /api/monitors/shop/data', { status: 'UP' })
    await remote.call(token, 'POST /api/incidents', {
      title: 'Slow & odd',
      monitors: [{ monitor_tag: 'shop', impact: 'DEGRADED' }],
    })
    await local.call(null, 'GET /api/status')
    await local.call('kener_nonsense', 'GET /api/nothing')
    await remote.app.readTraffic()
    const { body } = await visitor.get('/manage')
    t.match(body, '7 in the last hour')
    t.match(body, /1 <span class="status degraded">.*Shop &lt;b>.*by an open incident.*Degraded/s)
    t.notMatch(body, /Switched off|Backstage/)
    t.match(body, /<a href="\/manage\/incidents\/1">Slow &amp; odd<\/a>/)
  },
)

await t.test('the page of a key shows its usage and the advice about it, which has a page too', async (t) => {
  const { replica, admin, visitor } = await start(t)
  const { id, token } = await newKey(replica, { name: 'client', permissions: ['read:monitors'] })
  await replica.call(token, 'GET /api/monitors')
  await replica.call(token, 'GET /api/monitors')
  await replica.call(token, 'GET /api/keys')
  const { body } = await visitor.get(`${keys}/${id}`)
  t.match(body, /aria-label="Requests per day: 3 in the last 30 days, 1 of them rejected"/)
  t.match(body, /<title>3, 1 rejected, [^<]+<\/title>/)
  t.match(body, /<code>read:monitors<\/code><span>2<\/span>/)
  t.match(body, new RegExp(`never expires.*href="${keys}/${id}#expiry"`))
  t.match((await visitor.get(`${keys}/${admin.id}`)).body, /<code>admin<\/code><span>[1-9]/, 'the log-in')
  const advice = (await visitor.get(`${keys}/advice`)).body
  for (const key of [id, admin.id]) t.match(advice, `href="${keys}/${key}#expiry"`)
  t.notMatch(advice, 'Older keys')

  const expiry = new Date(Math.floor(Date.now() / 1000) * 1000 + 86_400_000)
  await replica.db.updateTable('api_keys').set({ expires_at: expiry }).where('id', '=', id).execute()
  t.match(
    (await visitor.get('/manage')).body,
    new RegExp(`expires at <time datetime="${expiry.toISOString()}"`),
  )
})
