import t from 'tap'
import { ApiError } from '../src/errors.ts'
import { createVerificationQueue } from '../src/http/verification-queue.ts'
import { times } from './helper.ts'

/**
 * A queue in which keys with one-letter ids exist, with the secret "right". Tokens are written as id:secret. Records what
 * is looked up and verified.
 */
function start(options: Parameters<typeof createVerificationQueue>[0] = {}) {
  const verifyInTurn = createVerificationQueue({ pauseMs: 1, keyPauseMs: 0, maxWaitMs: 60_000, ...options })
  const lookUps: string[] = []
  const verified: string[] = []

  async function present(token: string, address = '192.0.2.1'): Promise<unknown> {
    const [keyId = '', secret] = token.split(':')
    const verification = {
      keyId,
      digest: token,
      lookUp: () => {
        lookUps.push(token)
        return Promise.resolve(keyId.length === 1 ? 'hash' : undefined)
      },
      verify: () => {
        verified.push(token)
        return secret === 'right' ? Promise.resolve() : Promise.reject(new Error('wrong'))
      },
    }
    return verifyInTurn(address, verification).catch((error: unknown) =>
      error instanceof ApiError ? error.reason : (error as Error).message,
    )
  }

  return { present, lookUps, verified }
}

await t.test('tokens of unknown keys are rejected together, without a verification', async (t) => {
  const { present, verified } = start()
  const unknown = times(1_000, (index) => present(`unknown${index}:x`))
  t.equal(await present('a:right'), true)
  t.same([...new Set(await unknown)], ['unknown'])
  t.same(verified, ['a:right'])
})

await t.test('valid tokens are verified without a pause', async (t) => {
  const { present } = start({ pauseMs: 2 ** 30 })
  const outcomes = await Promise.all(['a', 'b', 'c', 'd'].map((id) => present(`${id}:right`)))
  t.same([...new Set(outcomes)], [true])
})

await t.test('requests with the same token share its verification', async (t) => {
  const { present, verified } = start()
  t.same([...new Set(await times(50, () => present('a:right')))], [true])
  t.same(verified, ['a:right'])
})

await t.test('keys that have failed are verified after all others', async (t) => {
  const { present, verified } = start()
  t.equal(await present('a:x'), 'wrong')
  await Promise.all(['a:y', 'b:x', 'c:right', 'd:right'].map((token) => present(token)))
  t.same(verified, ['a:x', 'b:x', 'c:right', 'd:right', 'a:y'])
})

await t.test(
  'of several tokens for one key, one is verified, if possible one that was presented before',
  async (t) => {
    const { present, verified } = start()
    const outcomes = await Promise.all(['a:1', 'a:2', 'a:right', 'a:3'].map((token) => present(token)))
    // The first token starts the queue.
    t.same(outcomes, ['wrong', 'wrong', false, false])
    const [, , , valid] = await Promise.all(['b:x', 'a:4', 'a:5', 'a:right'].map((token) => present(token)))
    t.equal(valid, true)
    t.same(verified, ['a:1', 'a:2', 'b:x', 'a:right'])
  },
)

await t.test('the number of waiting tokens is limited, for each address and in total', async (t) => {
  const { present, lookUps } = start({ maxWaitingPerAddress: 3, maxWaiting: 5 })
  const one = times(5, (index) => present(`unknown${index}:x`))
  const other = times(5, (index) => present(`unknown${index}:y`, '192.0.2.2'))
  t.same(await one, ['unknown', 'unknown', 'unknown', false, false])
  t.same(await other, ['unknown', 'unknown', false, false, false])
  t.equal(lookUps.length, 5)
  t.equal(await present('a:right'), true, 'and recovers')
})

await t.test('a token that is not verified in time is rejected', async (t) => {
  const { present, verified } = start({ keyPauseMs: 2 ** 30, maxWaitMs: 0 })
  t.equal(await present('a:x'), 'wrong')
  t.equal(await present('a:y'), false)
  t.same(verified, ['a:x'])
})

await t.test('a token is rejected before a pause in which its time ends', async (t) => {
  const { present, lookUps } = start({ keyPauseMs: 2 ** 30, pauseMs: 20, maxWaitMs: 30 })
  t.equal(await present('a:x'), 'wrong')
  t.equal(await present('a:y'), false)
  t.same(lookUps, ['a:x', 'a:y'])
})
