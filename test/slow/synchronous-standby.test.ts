import pg from 'pg'
import t from 'tap'
import { requestTimeouts } from '../../src/database/open.ts'
import { formatToken, generateSecret, generateTokenParts } from '../../src/keys/token.ts'
import { isErrorReply, newKey, startReplica, waitUntil } from '../helper.ts'
import { startPostgres } from '../postgres.ts'
import { logIn, visit, type Visitor } from '../visitor.ts'

/** A deposed primary: it is writable, and has lost its synchronous standby, which was promoted. */
await t.test('a primary without its synchronous standby answers no request with a secret', async (t) => {
  const postgres = await startPostgres()
  t.teardown(postgres.stop)
  const replica = await startReplica(t, { url: postgres.url, timeouts: requestTimeouts })
  const { token } = await newKey(replica)
  const visitor = await logIn(replica.app, token)
  const me = () => replica.call(token, 'GET /api/me')
  const isReady = async () => (await replica.call(null, 'GET /readyz')).statusCode === 200
  t.equal((await me()).statusCode, 200)
  t.ok(await isReady())

  const operator = new pg.Client({ connectionString: postgres.url })
  const writer = new pg.Client({ connectionString: postgres.url })
  await Promise.all([operator.connect(), writer.connect()])
  const isWaiting = async () => {
    const waiting = `select from pg_stat_activity where wait_event = 'SyncRep'`
    return (await operator.query(waiting)).rows.length > 0
  }
  await operator.query(`alter system set synchronous_standby_names = 'lost'`)
  await operator.query('select pg_reload_conf()')
  // The setting applies when a commit waits.
  let isOver = false as boolean
  const writes = (async () => {
    while (!isOver) await writer.query(`select pg_logical_emit_message(true, 'test', '')`)
  })()
  await waitUntil(isWaiting)

  // First, because a lost connection closes the idle ones. It cannot know what its successor has created.
  const url = await replica.call(null, `GET /ext/heartbeat/backup/${generateSecret()}`)
  isErrorReply(t, url, 503, 'SERVICE_UNAVAILABLE', 'an unknown heartbeat URL')
  isErrorReply(t, await me(), 503, 'SERVICE_UNAVAILABLE', 'a key')
  const unknown = await replica.call(formatToken(generateTokenParts()), 'GET /api/me')
  isErrorReply(t, unknown, 503, 'SERVICE_UNAVAILABLE', 'an unknown key')
  // This page depends on nothing but the session.
  const showLogIn = async ({ get }: Visitor) => (await get('/manage/login')).statusCode
  t.equal(await showLogIn(visitor), 503, 'a session')
  t.equal(await showLogIn(visitor), 503, 'a session whose row the first request has locked')
  const stranger = visit(replica.app)
  stranger.cookie = `kener_manage=${generateSecret()}`
  t.equal(await showLogIn(stranger), 503, 'an unknown session')
  t.notOk(await isReady(), 'it is not ready')
  // On a busy machine, the server may receive a statement later than its cancellation.
  await waitUntil(async () => {
    const ours = `select from pg_stat_activity where application_name = 'kener-api' and wait_event = 'SyncRep'`
    return (await operator.query(ours)).rows.length < 4
  })
  t.pass('abandoned commits do not keep waiting, because each would take a connection of the server')

  isOver = true
  await operator.query('alter system reset synchronous_standby_names')
  await operator.query('select pg_reload_conf()')
  await writes
  await waitUntil(async () => (await isReady()) && (await me()).statusCode === 200)
  t.equal(await showLogIn(visitor), 303, 'the session is still active')
  await Promise.all([operator.end(), writer.end()])
})
