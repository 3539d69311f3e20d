import { createServer } from 'node:http'
import t from 'tap'
import { connectToKener, parseKenerUrl } from '../src/kener/import/client.ts'
import { OperatorError } from '../src/operator-error.ts'
import { sourceIncident, startFakeKener } from './fake-kener.ts'
import { createDatabase, newKey, startReplica, waitUntil } from './helper.ts'
import { command, contentOf, fill, importInProcess } from './kener-import.ts'
import { cli } from './process.ts'

await t.test('more than 1000 incidents with the same start are reported, and have exit code 1', async (t) => {
  const kener = await startFakeKener(t)
  for (let id = 1; id <= 1001; id++)
    kener.content.incidents.push(sourceIncident(id, { start_date_time: 1_767_225_600 }))
  const { db } = await startReplica(t)
  const { isComplete, output } = await importInProcess(db, kener, { dryRun: true })
  t.notOk(isComplete)
  t.match(
    output,
    /incidents that start at 2026-01-01T00:00:00Z: only the newest 1000 are imported and the others are skipped/,
  )
  t.match(output, /^incidents: 1000 new, 1 skipped$/m)
})

await t.test('an error of the source is reported in one line, without the key', async (t) => {
  const { db } = await startReplica(t)
  const kener = await startFakeKener(t, { base: '/status' })
  const answer = (status: number, body: string, headers = {}) => {
    kener.hooks.intercept = (_request, response) => {
      response.writeHead(status, headers).end(body)
      return true
    }
  }
  const failsWith = async (message: RegExp, url = kener.url, key = kener.key) => {
    const error = await importInProcess(db, { url, key }).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.type(error, OperatorError)
    t.match(error, { message })
    t.notOk(String(error).includes(kener.key))
  }
  await failsWith(
    /^http\S+\/status rejected the API key \(401\): set KENER_SOURCE_API_KEY \(or KENER_API_KEY, [^\n]*$/,
    kener.url,
    'another',
  )
  await failsWith(
    /^http\S+\/elsewhere has no Kener 4 API: check --url$/,
    kener.url.replace('/status', '/elsewhere'),
  )
  answer(200, `<html>${kener.key}</html>`)
  const noList =
    /^http\S+ did not respond with a JSON object that contains the list monitors: is it a Kener 4\?$/
  await failsWith(noList)
  for (const body of [
    '[]',
    '{}',
    '{"monitors":{}}',
    '{"a":{"monitors":[]}}',
    '{"monitors":[{"id":1,"tag":"a"}',
  ]) {
    answer(200, body)
    await failsWith(noList)
  }
  answer(418, kener.key)
  await failsWith(/^http\S+ responded with 418: is it a Kener 4\?$/)
  answer(200, ' '.repeat(65 * 1024 * 1024))
  await failsWith(/^http\S+ responded with more than 64 MiB: is it a Kener 4\?$/)
  answer(500, kener.key)
  await failsWith(
    /^http\S+ responded with 500, 5 times in a row\. Run the import again later: it continues where it stopped\.$/,
  )
  kener.hooks.intercept = ({ socket }) => Boolean(socket.destroy())
  await failsWith(/^http\S+ cannot be reached \(UND_ERR_SOCKET\), 5 times in a row/)
  kener.hooks.intercept = (_request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{', () => response.destroy())
    return true
  }
  await failsWith(/^http\S+ cannot be reached \(\w+\), 5 times in a row/)
  t.same((await contentOf(db)).monitors, [])
})

await t.test(
  'redirects are followed within the same server, and the key is not sent to another one',
  async (t) => {
    const kener = await startFakeKener(t)
    fill(kener)
    const { db } = await startReplica(t)
    const received: unknown[] = []
    const other = createServer(({ headers }, response) => {
      received.push(headers)
      response.end('{"monitors":[]}')
    })
    other.listen(0, '127.0.0.1')
    t.teardown(() => other.close())
    await waitUntil(() => other.listening)
    const { port } = other.address() as { port: number }
    const redirect = (toLocation: (path: string) => string | undefined) => {
      kener.hooks.intercept = ({ url = '' }, response) => {
        const location = toLocation(url)
        if (location !== undefined) response.writeHead(308, { location }).end()
        return location !== undefined
      }
    }
    redirect((path) => `http://127.0.0.1:${port}${path}`)
    await t.rejects(importInProcess(db, kener), {
      message: `${kener.url} redirects to another server, "http://127.0.0.1:${port}", and the API key is not sent there. If that server is the Kener, pass its address as --url.`,
    })
    t.same(received, [])
    for (const [location, message] of [
      [
        `http://user:hunter2@127.0.0.1:${port}/`,
        /redirects to another server, "http:\/\/127\.0\.0\.1:\d+", and/,
      ],
      [
        kener.url.replace('//', '//user:hunter2@'),
        /redirects to a URL with a user name or a password, which is not/,
      ],
      [kener.url.replace('//', '//user@'), /redirects to a URL with a user name or a password, which is not/],
      [`blob:${kener.url}/x`, /redirects to a "blob:" URL, which is not followed/],
      ['data:application/json,{"monitors":[]}', /redirects to a "data:" URL, which is not followed/],
      [kener.url.replace('http:', 'https:'), /redirects to another server, "https:\/\/127/],
      ['file:///etc/passwd', /redirects to a "file:" URL, which is not followed/],
    ] as const) {
      redirect(() => location)
      const error: unknown = await importInProcess(db, kener).catch((error: unknown) => error)
      t.type(error, OperatorError)
      t.match(error, { message }, location)
      t.notMatch(String(error), 'hunter2')
    }
    t.same(received, [])
    redirect((path) => (path.endsWith('?moved') ? undefined : '?moved'))
    t.match((await importInProcess(db, kener)).output, /monitors: 2 new/)
    redirect((path) => path)
    await t.rejects(importInProcess(db, kener), { message: /redirects more than 5 times/ })
  },
)

await t.test('retries wait as long as Retry-After says, or longer each time without it', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  const waits: number[] = []
  const wait = (ms: number) => Promise.resolve(waits.push(ms))
  const shown: string[] = []
  const options = { wait, onRetry: (reason: string) => shown.push(reason) }
  const client = connectToKener(kener.url, kener.key, options)
  const fail = (times: number, status: number, headers = {}) => {
    let left = times
    kener.hooks.intercept = (_request, response) => {
      if (left-- > 0) response.writeHead(status, headers).end()
      return left >= 0
    }
  }
  const assertWaits = async (expected: number[]) => {
    waits.length = 0
    t.equal((await client.monitors()).items.length, 2)
    t.same(waits, expected)
  }
  fail(2, 429, { 'retry-after': '7' })
  await assertWaits([7_000, 7_000])
  fail(1, 429, { 'retry-after': '86400' })
  await assertWaits([60_000])
  fail(1, 503, { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() })
  await assertWaits([60_000])
  fail(1, 503, { 'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT' })
  await assertWaits([1_000])
  fail(4, 502, { 'retry-after': 'soon' })
  await assertWaits([1_000, 2_000, 4_000, 8_000])
  t.equal(shown.at(-1), `${kener.url} responded with 502`)
  let left = 1
  kener.hooks.intercept = () => left-- > 0
  const impatient = connectToKener(kener.url, kener.key, { ...options, timeoutMs: 500 })
  t.equal((await impatient.monitors()).items.length, 2)
  t.equal(shown.at(-1), `${kener.url} did not respond in time`)
})

await t.test('the command waits for Retry-After of a 429 and continues', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  let rejections = 1
  kener.hooks.intercept = (_request, response) => {
    if (rejections-- > 0) response.writeHead(429, { 'retry-after': '1' }).end()
    return rejections >= 0
  }
  const env = { DATABASE_URL: await createDatabase(t), KENER_SOURCE_API_KEY: kener.key }
  const { code, stderr } = await cli(t, command(kener), env)
  t.equal(code, 0)
  t.match(stderr, `${kener.url} responded with 429: retrying in 1 s\nmonitors: 2 new\n`)
})

await t.test('an incident that is deleted at the source during the import is not imported', async (t) => {
  const kener = await startFakeKener(t)
  fill(kener)
  kener.hooks.intercept = ({ url }, response) => {
    if (url?.endsWith('/comments')) response.writeHead(404).end()
    return response.writableEnded
  }
  const { db } = await startReplica(t)
  const { isComplete, output } = await importInProcess(db, kener)
  t.ok(isComplete)
  t.match(output, /monitors: 2 new\nincidents: 1 deleted at the source\ncomments: none\n/)
})

await t.test('a key of this service is not sent to the source', async (t) => {
  const kener = await startFakeKener(t)
  const replica = await startReplica(t, { url: await createDatabase(t) })
  const { token } = await newKey(replica)
  for (const variable of ['KENER_SOURCE_API_KEY', 'KENER_API_KEY']) {
    const { code, stderr } = await cli(t, command(kener), {
      DATABASE_URL: replica.app.config.databaseUrl ?? '',
      [variable]: token,
    })
    t.equal(code, 1)
    t.match(
      stderr,
      new RegExp(
        `^kener-api: ${variable} contains a key of this service: set KENER_SOURCE_API_KEY [^\\n]*\\n$`,
      ),
    )
    t.notOk(stderr.includes(token))
  }
  t.same(kener.requests, [], 'the source receives no request')
})

await t.test('KENER_SOURCE_API_KEY takes precedence over KENER_API_KEY, which is the fallback', async (t) => {
  const kener = await startFakeKener(t)
  const replica = await startReplica(t, { url: await createDatabase(t) })
  const env = { DATABASE_URL: replica.app.config.databaseUrl ?? '' }
  const ownKey = (await newKey(replica)).token
  for (const keys of [
    { KENER_SOURCE_API_KEY: kener.key, KENER_API_KEY: ownKey },
    { KENER_API_KEY: kener.key },
    { KENER_SOURCE_API_KEY: '', KENER_API_KEY: kener.key },
  ]) {
    t.equal((await cli(t, command(kener), { ...env, ...keys })).code, 0, Object.keys(keys).join())
  }
  t.ok(kener.requests.every(({ authorization }) => authorization === `Bearer ${kener.key}`))
})

await t.test('the URL of a source is normalized: trailing slashes and /api/v4 make no difference', (t) => {
  for (const text of ['https://Example.com', 'https://example.com/', 'https://example.com:443/api/v4/']) {
    t.equal(parseKenerUrl(text), 'https://example.com')
  }
  t.equal(parseKenerUrl('https://example.com/status//'), 'https://example.com/status')
  t.equal(parseKenerUrl('https://example.com/?a=1'), undefined)
  t.end()
})
