import t from 'tap'
import { readConfig } from '../src/config.ts'

await t.test('without variables, the defaults apply', async (t) => {
  t.same(readConfig({}), {
    host: '127.0.0.1',
    port: 3000,
    databaseUrl: undefined,
    dataDir: './data',
    databasePoolMax: 10,
    rateLimitMax: 100,
    publicRateLimitMax: 60,
    authFailureLimitMax: 30,
    trustProxy: false,
    dataRetentionDays: 90,
    metricsPort: undefined,
    logLevel: 'info',
  })
})

await t.test('an empty variable counts as not set', async (t) => {
  t.same(readConfig({ PORT: '', DATABASE_URL: '', TRUST_PROXY: '', LOG_LEVEL: '' }), readConfig({}))
})

await t.test('valid values are accepted', async (t) => {
  const url = 'postgresql://user:pass@db.example:5433/kener?sslmode=require'
  t.match(
    readConfig({ HOST: '::', PORT: '0', DATABASE_URL: url, LOG_LEVEL: 'silent', METRICS_PORT: '9090' }),
    {
      host: '::',
      port: 0,
      databaseUrl: url,
      logLevel: 'silent',
      metricsPort: 9090,
    },
  )
  const proxies: [string, unknown][] = [
    ['false', false],
    ['true', true],
    ['1', 1],
    ['10.0.0.1', ['10.0.0.1']],
    ['10.0.0.0/8, fd00::/8', ['10.0.0.0/8', 'fd00::/8']],
  ]
  for (const [text, expected] of proxies) t.same(readConfig({ TRUST_PROXY: text }).trustProxy, expected, text)
})

await t.test('an invalid value is an error of one line that names the variable', async (t) => {
  const bad: [name: string, ...values: string[]][] = [
    ['PORT', 'abc', '-1', '65536', '3000.5', '0x50', ' '],
    ['DATABASE_URL', 'mysql://x/y', 'localhost', 'postgres://', 'postgres://a:b@[bad'],
    ['DATABASE_POOL_MAX', '0', 'ten', '1e3'],
    ['RATE_LIMIT_MAX', '0', '-5', '1.5', '99999999999999999999'],
    ['PUBLIC_RATE_LIMIT_MAX', 'x', '0'],
    ['AUTH_FAILURE_LIMIT_MAX', 'x', '0'],
    [
      'TRUST_PROXY',
      'yes',
      '10.0.0.0/33',
      '0.0.0.0/0',
      '::/0',
      '10.0.0',
      '::1/129',
      '10.0.0.1,',
      '-1',
      '1.2.3.4/8/8',
    ],
    ['DATA_RETENTION_DAYS', '0', 'x'],
    ['METRICS_PORT', 'on', '70000'],
    ['LOG_LEVEL', 'loud', 'INFO'],
  ]
  for (const [name, ...values] of bad) {
    for (const value of values) {
      t.throws(
        () => readConfig({ [name]: value }),
        { message: new RegExp(`^${name} must be [^\\n]+$`) },
        `${name}=${value}`,
      )
    }
  }
})

await t.test('the error about an invalid database URL does not contain its password', async (t) => {
  try {
    readConfig({ DATABASE_URL: 'postgress://user:swordfish@host/db' })
    t.fail('it was accepted')
  } catch (error) {
    t.notMatch(String(error), /swordfish/)
  }
})
