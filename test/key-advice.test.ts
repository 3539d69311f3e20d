import { sql } from 'kysely'
import t from 'tap'
import { adviseKey } from '../src/keys/advice.ts'
import { type Permission, permissions } from '../src/permissions.ts'
import { expire, isErrorReply, newKey, type Replica, shareReplica, startReplica } from './helper.ts'

const share = shareReplica(t)

const dayMs = 86_400_000
const startedAt = Math.floor(Date.now() / 1000) * 1000
const daysAgo = (days: number) => new Date(startedAt - days * dayMs)

async function start({ recordedDays = 400 } = {}) {
  const replica = await share()
  const { db, call } = replica
  await sql`update kener_api_migrations set applied_at = ${daysAgo(recordedDays)}
    where name = '2026-11-26-zz-key-usage'`.execute(db)
  const admin = await newKey({ db }, { name: 'admin', expiresAt: daysAgo(-900) })
  const advice = async (query = ''): Promise<Finding[]> => {
    const { json, statusCode, body } = await call(admin.token, `GET /api/keys/advice${query}`)
    t.equal(statusCode, 200, body)
    return json.data as Finding[]
  }
  return { ...replica, admin, advice }
}

type Finding = {
  key_id: string
  code: string
  message: string
  since?: string
  fix?: { method: 'PATCH' | 'POST'; path: string; body: object }
}

type KeyState = {
  name?: string
  permissions?: Permission[]
  /** Age of the last use of each permission, in days. */
  used?: Partial<Record<Permission, number>>
  createdDays?: number
  lastUsedDays?: number | null
  expiresDays?: number | null
}

/** Creates a key that was created, used and expires at the given times. */
async function addKey(
  { db }: Pick<Replica, 'db'>,
  { name = 'k', used = {}, createdDays = 200, lastUsedDays = 0, expiresDays = 900, ...more }: KeyState,
) {
  const expiresAt = expiresDays === null ? null : daysAgo(-expiresDays)
  const key = await newKey({ db }, { name, permissions: ['read:monitors'], ...more, expiresAt })
  await sql`
    update api_keys set created_at = ${daysAgo(createdDays)},
      last_used_at = ${lastUsedDays === null ? null : daysAgo(lastUsedDays)} where id = ${key.id}`.execute(db)
  const today = Math.floor(startedAt / dayMs)
  const days = permissions.map((permission) => {
    const age = used[permission]
    return age === undefined ? null : today - age
  })
  await sql`insert into key_last_uses values (${key.id}, ${sql.join(days)})`.execute(db)
  return key
}

const codes = (findings: Finding[], id: string) =>
  findings.filter(({ key_id }) => key_id === id).map(({ code }) => code)

await t.test(
  'each fix resolves its finding, and takes no access from the client or the caller',
  async (t) => {
    const replica = await start()
    const { advice, admin, call, db } = replica
    const read = { 'read:monitors': 1 }
    const narrowed = await addKey(replica, {
      permissions: ['read:monitors', 'write:monitors'],
      used: { ...read, 'write:monitors': 120 },
    })
    const admins = await addKey(replica, { permissions: ['admin'], used: { ...read, 'write:incidents': 89 } })
    const endless = await addKey(replica, { used: read, expiresDays: null })
    const ending = await addKey(replica, { used: read, expiresDays: 13 })
    const idle = await addKey(replica, { lastUsedDays: 91 })
    const unused = await addKey(replica, { lastUsedDays: null })
    const rotated = await addKey(replica, { used: read })
    const rotation = await call(admin.token, `POST /api/keys/${rotated.id}/rotate`, {
      overlap_seconds: 3_600,
    })
    t.equal(codes(await advice(), rotated.id).length, 0, 'not used after its rotation')
    const later = new Date(Date.now() + 60_000)
    await sql`update api_keys set last_used_at = ${later} where id = ${rotated.id}`.execute(db)

    const findings = await advice()
    t.same(
      findings.map(({ key_id, code }) => [key_id, code]),
      [
        [rotated.id, 'rotated_but_used'],
        [unused.id, 'idle'],
        [idle.id, 'idle'],
        [ending.id, 'expires_soon'],
        [endless.id, 'never_expires'],
        [admins.id, 'unused_permission'],
        [narrowed.id, 'unused_permission'],
      ],
      'newest keys first, and nothing about the others',
    )
    const [, ofUnused, ofIdle, , , ofAdmins, ofNarrowed] = findings
    t.match(ofAdmins, {
      message: /admin.* needed only read:monitors, write:incidents/,
      fix: {
        method: 'PATCH',
        path: `/api/keys/${admins.id}`,
        body: { permissions: ['read:monitors', 'write:incidents'] },
      },
    })
    t.same(ofNarrowed?.fix?.body, { permissions: ['read:monitors'] })
    t.equal(
      Date.parse(ofNarrowed?.since ?? ''),
      Math.floor(daysAgo(119).getTime() / dayMs) * dayMs,
      'the end of the last day',
    )
    t.equal(Date.parse(ofIdle?.since ?? ''), daysAgo(91).getTime())
    t.equal(Date.parse(ofUnused?.since ?? ''), daysAgo(200).getTime(), 'since its creation')
    t.match(findings[0]?.message, rotation.json.data.id)

    for (const { key_id, code, fix } of findings) {
      if (!fix) throw new Error(`${code} has no fix`)
      const reply = await call(admin.token, `${fix.method} ${fix.path}`, fix.body)
      t.equal(reply.statusCode, 200, `${code}: ${reply.body}`)
      t.same(codes(await advice(), key_id), [], code)
    }
    t.equal((await call(admins.token, 'GET /api/monitors')).statusCode, 200)
    t.equal((await call(narrowed.token, 'GET /api/monitors')).statusCode, 200)
    t.equal((await call(admin.token, 'GET /api/keys')).statusCode, 200)
  },
)

await t.test('no fix leaves a key without permissions, or locks out the caller', async (t) => {
  const replica = await start()
  const { advice, call, db } = replica
  const nothing = await addKey(replica, {})
  const [finding] = await advice()
  t.match(finding, { key_id: nothing.id, code: 'unused_permission' }, 'used for GET /api/me only')
  t.notOk(finding?.fix)

  const caller = await addKey(replica, { permissions: ['admin'], lastUsedDays: null, expiresDays: 20 })
  const ask = async () => (await call(caller.token, 'GET /api/keys/advice')).json.data as Finding[]
  t.same(codes(await ask(), caller.id), [], 'it uses admin right now')
  const idle = await addKey(replica, { permissions: ['admin'], lastUsedDays: 100 })
  t.same(codes(await advice(), idle.id), ['idle'])
  // Its first request for months: the last use is stored a little later.
  const asIdle = { callerId: idle.id, callerExpiresAt: null, lifetimeMaxDays: null }
  t.same(await adviseKey(db, asIdle, idle.id), [])
  // Narrower than its own permissions, but never without admin.
  await sql`update api_keys set permissions = array['read:monitors', 'admin'] where id = ${caller.id}`.execute(
    db,
  )
  const narrower = (await ask()).find(({ key_id }) => key_id === caller.id)
  t.same([narrower?.code, narrower?.fix?.body], ['unused_permission', { permissions: ['admin'] }])

  await sql`update api_keys set expires_at = ${daysAgo(-5)} where id = ${caller.id}`.execute(db)
  const ending = await addKey(replica, { used: { 'read:monitors': 0 }, expiresDays: 5 })
  const soon = (await ask()).filter(({ code }) => code === 'expires_soon')
  t.same(
    soon.map(({ key_id }) => key_id),
    [ending.id, caller.id],
  )
  t.notOk(
    soon.some(({ fix }) => fix),
    'a caller that expires cannot extend a key beyond its own expiry',
  )
  t.ok((await advice()).filter(({ code }) => code === 'expires_soon').every(({ fix }) => fix))

  await call(caller.token, `POST /api/keys/${caller.id}/rotate`, { overlap_seconds: 3_600 })
  await sql`update api_keys set last_used_at = now() + interval '1 minute' where id = ${caller.id}`.execute(
    db,
  )
  const own = (await ask()).find(({ code }) => code === 'rotated_but_used')
  t.equal(own?.key_id, caller.id)
  t.notOk(own?.fix, 'a revocation of the calling key')
  t.ok((await advice()).find(({ code }) => code === 'rotated_but_used')?.fix)
})

await t.test('nothing is said about what has not been observed for 90 days', async (t) => {
  const permissions: Permission[] = ['read:monitors', 'write:monitors']
  const used = { 'read:monitors': 0 }
  const early = await start({ recordedDays: 89 })
  await addKey(early, { permissions, used })
  t.same(await early.advice(), [], 'usage is not recorded long enough')

  const replica = await start()
  const { advice, admin, call } = replica
  await addKey(replica, { permissions, used, createdDays: 89 })
  t.same(await advice(), [], 'a new key')
  const changed = await addKey(replica, { permissions, used })
  t.same(codes(await advice(), changed.id), ['unused_permission'])
  const change = (list: Permission[]) =>
    call(admin.token, `PATCH /api/keys/${changed.id}`, { permissions: list })
  await change(['write:monitors', 'read:monitors'])
  t.same(codes(await advice(), changed.id), ['unused_permission'], 'the same permissions')

  const { json } = await call(admin.token, `POST /api/keys/${changed.id}/rotate`)
  const successor = json.data as { id: string }
  t.same(
    codes(await advice(), successor.id),
    ['unused_permission'],
    'its client had them before the rotation',
  )
  t.same((await advice()).find(({ key_id }) => key_id === successor.id)?.fix?.body, {
    permissions: ['read:monitors'],
  })
  await call(admin.token, `PATCH /api/keys/${successor.id}`, {
    permissions: [...permissions, 'read:incidents'],
  })
  t.same(codes(await advice(), successor.id), [], 'a permission that was just added')
})

await t.test('revoked and expired keys are not advised', async (t) => {
  const replica = await start()
  const { advice, admin, call } = replica
  await expire(replica, (await addKey(replica, { lastUsedDays: 100 })).id)
  const { id } = await addKey(replica, { expiresDays: null, lastUsedDays: 100 })
  await call(admin.token, `POST /api/keys/${id}/revoke`)
  t.same(await advice(), [])
})

await t.test('a page has the findings after the cursor, and examines at most 5,000 keys', async (t) => {
  const { admin, call, db, statements } = await start()
  // Every hundredth key never expires, and every two hundredth is also idle.
  await sql`
    insert into api_keys (id, secret_hash, name, permissions, expires_at, created_at, last_used_at)
    select 'key' || n, '', 'k', array['read:monitors'], case when n % 100 > 0 then now() + interval '1 year' end,
      now() - interval '200 days', case when n % 200 > 0 then now() end
    from generate_series(1, 5100) as n`.execute(db)
  await sql`
    insert into key_last_uses (key_id, read_monitors)
    select id, floor(extract(epoch from now()) / 86400) from api_keys where id like 'key%'`.execute(db)
  const page = async (query: string) => {
    const { json } = await call(admin.token, `GET /api/keys/advice?${query}`)
    const { data, pagination } = json as { data: Finding[]; pagination: { next_cursor: string | null } }
    return { findings: data.map(({ key_id, code }) => `${key_id} ${code}`), next: pagination.next_cursor }
  }

  const first = await page('limit=1')
  t.same(first.findings, ['key5100 never_expires'])
  const second = await page(`limit=2&cursor=${first.next}`)
  t.same(second.findings, ['key5000 never_expires', 'key5000 idle'])
  const third = await page(`limit=50&cursor=${second.next}`)
  const fourth = await page(`limit=50&cursor=${third.next}`)
  const expected = Array.from({ length: 49 }, (_, index) => 4_900 - index * 100).flatMap((n) => [
    `key${n} never_expires`,
    ...(n % 200 === 0 ? [`key${n} idle`] : []),
  ])
  t.same([...third.findings, ...fourth.findings], expected)
  t.equal(fourth.next, null)

  await sql`
    update api_keys set expires_at = now() + interval '1 year', last_used_at = now() where id <> 'key100'
    `.execute(db)
  statements.length = 0
  const empty = await page('')
  t.same(empty.findings, [], 'none of the newest 5,000 keys')
  t.equal(statements.filter((text) => text.includes('examined')).length, 1)
  t.same(await page(`cursor=${empty.next}`), { findings: ['key100 never_expires'], next: null })

  for (const query of ['limit=101', 'cursor=x', 'status=active']) {
    isErrorReply(t, await call(admin.token, `GET /api/keys/advice?${query}`), 400, 'INVALID_REQUEST', query)
  }
})

await t.test('KEY_LIFETIME_MAX_DAYS bounds the proposed expiry', async (t) => {
  const replica = await startReplica(t, { config: { keyLifetimeMaxDays: 30 } })
  const { token } = await newKey(replica)
  const [finding] = (await replica.call(token, 'GET /api/keys/advice')).json.data as Finding[]
  t.equal(finding?.code, 'never_expires')
  const { expires_at } = finding?.fix?.body as { expires_at: string }
  t.ok(Math.abs(Date.parse(expires_at) - daysAgo(-30).getTime()) < 60_000)
})
