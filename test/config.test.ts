import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readConfig } from '../src/config.ts'
import { parseDatabaseUrl } from '../src/database-url.ts'
import { describeError } from '../src/operator-error.ts'
import { temporaryDirectory } from './process.ts'

await t.test('without variables, the defaults apply', async (t) => {
  t.same(readConfig({}), {
    host: '127.0.0.1',
    port: 3000,
    databaseUrl: undefined,
    databaseDirectUrl: undefined,
    databasePreparedStatements: true,
    dataDir: './data',
    databasePoolMax: 10,
    rateLimitMax: 100,
    keyLifetimeMaxDays: null,
    publicRateLimitMax: 60,
    authFailureLimitMax: 30,
    trustProxy: false,
    dataRetentionDays: 90,
    auditRetentionDays: 400,
    publicPage: true,
    siteName: 'Status',
    siteUrl: undefined,
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
  t.match(readConfig({ PUBLIC_PAGE: 'off', SITE_NAME: ' Größe & Co ' }), {
    publicPage: false,
    siteName: 'Größe & Co',
  })
  const sites: [string, string][] = [
    ['https://Status.Example.com', 'https://status.example.com'],
    ['https://status.example.com/', 'https://status.example.com'],
    ['http://[::1]:3000/status/', 'http://[::1]:3000/status'],
  ]
  for (const [text, expected] of sites) t.equal(readConfig({ SITE_URL: text }).siteUrl, expected, text)
})

await t.test('an invalid value is an error of one line that names the variable', async (t) => {
  const bad: [name: string, ...values: string[]][] = [
    ['PORT', 'abc', '-1', '65536', '3000.5', '0x50', ' '],
    ['DATABASE_URL', 'mysql://x/y', 'localhost', 'postgres://', 'postgres://a:b@[bad'],
    ['DATABASE_DIRECT_URL', 'mysql://x/y'],
    ['DATABASE_PREPARED_STATEMENTS', 'yes'],
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
    ['PUBLIC_PAGE', 'true', 'ON'],
    ['SITE_NAME', ' ', 'a\nb', 'x'.repeat(101)],
    [
      'SITE_URL',
      'status.example.com',
      '/status',
      'ftp://example.com',
      'https://',
      'https://user@example.com',
      'https://example.com?a=1',
      'https://example.com/#a',
    ],
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

await t.test('DATABASE_URL is parsed as libpq does', async (t) => {
  const none = { host: undefined, port: undefined, user: undefined, password: undefined, database: undefined }
  const cases: [url: string, target: Record<string, unknown>][] = [
    ['postgres://u:p@h:5433/d', { host: 'h', port: 5433, user: 'u', password: 'p', database: 'd' }],
    ['postgresql://h', { host: 'h' }],
    ['postgresql:///d', { database: 'd' }],
    ['postgresql://u@/d?host=/run/postgresql', { user: 'u', database: 'd', host: '/run/postgresql' }],
    ['postgresql://%2Frun%2Fpostgresql:5433/d', { host: '/run/postgresql', port: 5433, database: 'd' }],
    [
      'postgresql:///?host=h&port=1&user=u&password=p&dbname=d',
      { host: 'h', port: 1, user: 'u', password: 'p', database: 'd' },
    ],
    [
      'postgres://u:p@[2001:db8::1]:5433/d',
      { host: '2001:db8::1', port: 5433, user: 'u', password: 'p', database: 'd' },
    ],
    [
      'postgres://u:%2F%40%23%3F%25%3A+%20%C3%A9@h/d%20b',
      { host: 'h', user: 'u', password: '/@#?%:+ é', database: 'd b' },
    ],
    ['postgres://u:a#b?c@d:e@h/d', { host: 'h', user: 'u', password: 'a#b?c@d:e', database: 'd' }],
    [
      ' postgres://h/d?options=-csearch_path%3Dkener\n',
      { host: 'h', database: 'd', options: '-csearch_path=kener' },
    ],
    ['postgres://h/d?application_name=x&channel_binding=require', { host: 'h', database: 'd' }],
  ]
  for (const [url, target] of cases) {
    const expected = { ...none, options: undefined, ...target, isTlsOptional: false }
    const { ssl, ...parsed } = parseDatabaseUrl(url)
    t.same(parsed, expected, url)
    t.equal(ssl, String(target.host).startsWith('/') ? false : undefined, url)
  }
})

await t.test('sslmode and sslrootcert have the meaning that libpq gives them', async (t) => {
  const directory = temporaryDirectory(t)
  const rootCert = join(directory, 'root.pem')
  writeFileSync(rootCert, 'certificate')
  const parse = (query: string) => {
    const { ssl, isTlsOptional } = parseDatabaseUrl(`postgres://h/d?${query}`)
    if (!ssl) return ssl
    const { ca, rejectUnauthorized = true, checkServerIdentity } = ssl
    return { ca, verifies: rejectUnauthorized, checksHost: !checkServerIdentity, isTlsOptional }
  }
  const unverified = { ca: undefined, verifies: false, checksHost: true }
  const verified = { ca: 'certificate', verifies: true, isTlsOptional: false }
  t.equal(parse('sslmode=disable'), false)
  for (const mode of ['allow', 'prefer']) {
    t.same(parse(`sslmode=${mode}`), { ...unverified, isTlsOptional: true }, mode)
  }
  for (const query of ['sslmode=require', 'ssl=true', 'sslmode=no-verify']) {
    t.same(parse(query), { ...unverified, isTlsOptional: false }, query)
  }
  for (const mode of ['require', 'verify-ca']) {
    t.same(parse(`sslmode=${mode}&sslrootcert=${rootCert}`), { ...verified, checksHost: false }, mode)
  }
  for (const query of [`sslmode=verify-full&sslrootcert=${rootCert}`, `sslrootcert=${rootCert}`]) {
    t.same(parse(query), { ...verified, checksHost: true }, query)
  }
  for (const query of ['sslmode=verify-full', 'sslrootcert=system']) {
    t.same(parse(query), { ...verified, ca: undefined, checksHost: true }, query)
  }
  t.equal(parseDatabaseUrl('postgres:///d?host=/tmp&sslmode=require').ssl, false, 'not through a unix socket')
  const bad: [query: string, message: RegExp][] = [
    ['sslmode=verify_full', /sslmode must be one of/],
    ['sslmode=verify-ca', /requires sslrootcert/],
    [`sslmode=verify-full&sslrootcert=${directory}/none`, /sslrootcert.*ENOENT/],
  ]
  for (const [query, message] of bad) t.throws(() => parse(query), { message }, query)
})

await t.test('an invalid DATABASE_URL is one line with a hint, without the password', async (t) => {
  const cases: [url: string, hint: RegExp][] = [
    ['"postgres://u:troutfish@h/d"', /without quotes/],
    ["'postgres://u:troutfish@h/d'", /without quotes/],
    ['postgres://u:trout/fish@h/d', /%2F/],
    ['postgres://u:troutfish%@h/d', /%25/],
    ['postgres://u:troutfish@h:port/d', /DATABASE_URL/],
    ['postgres://u:troutfish@h:99999/d', /DATABASE_URL/],
    ['postgres://u:troutfish@h1:1,h2:2/d', /DATABASE_URL/],
    ['postgress://u:troutfish@h/d', /like postgres:/],
  ]
  for (const [DATABASE_URL, hint] of cases) {
    try {
      readConfig({ DATABASE_URL })
      t.fail(`${DATABASE_URL} was accepted`)
    } catch (error) {
      t.match(describeError(error), /^kener-api: DATABASE_URL [^\n]+\n$/)
      t.match(String(error), hint, DATABASE_URL)
      t.notMatch(String(error), /trout|fish/)
    }
  }
})
