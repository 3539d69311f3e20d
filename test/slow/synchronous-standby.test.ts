import pg from 'pg'
import t from 'tap'
import { requestTimeouts } from '../../src/database/open.ts'
import { formatToken, generateTokenParts } from '../../src/keys/token.ts'
import { isErrorReply, newKey, startReplica, waitUntil } from '../helper.ts'
import { startPostgres } from '../postgres.ts'

/** A deposed primary: it is writable, and has lost its synchronous standby, which was promoted. */
await t.test('a primary without its synchronous standby accepts no key', async (t) => {
  const postgres = await startPostgres()
  t.teardown(postgres.stop)
  const replica = await startReplica(t, { url: postgres.url, timeouts: requestTimeouts })
  const { token } = await newKey(replica)
  const newToken = () => formatToken(generateTokenParts())
  const me = () => replica.call(token, 'GET /api/me')
  t.equal((await me()).statusCode, 200)

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
  isErrorReply(t, await me(), 503, 'SERVICE_UNAVAILABLE', 'while no standby confirms that it is the primary')
  // Two, because the first may meet a connection that broke.
  for (const token of [newToken(), newToken()]) {
    const reply = await replica.call(token, 'GET /api/me')
    isErrorReply(
      t,
      reply,
      503,
      'SERVICE_UNAVAILABLE',
      'a key that only the successor may know is not rejected',
    )
  }

  isOver = true
  await operator.query('alter system reset synchronous_standby_names')
  await operator.query('select pg_reload_conf()')
  await writes
  await waitUntil(async () => (await me()).statusCode === 200)
  await Promise.all([operator.end(), writer.end()])
})
