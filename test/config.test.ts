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
    tracing: null,
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

await t.test('tracing is off unless an endpoint or the exporter is set', async (t) => {
  const url = 'http://collector:4318'
  const tracing = (env: NodeJS.ProcessEnv) => readConfig(env).tracing
  for (const env of [
    { OTEL_SERVICE_NAME: 'status', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_TRACES_SAMPLER: 'always_on' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_SDK_DISABLED: 'TRUE' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_EXPORTER: 'none' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
  ])
    t.equal(tracing(env), null)
  t.same(tracing({ OTEL_TRACES_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'false' }), {
    url: 'http://localhost:4318/v1/traces',
    protocol: 'http/protobuf',
    headers: {},
    tls: { ca: undefined, cert: undefined, key: undefined },
    compression: 'none',
    timeoutMs: 10_000,
    sampler: 'parentbased_always_on',
    samplerRatio: 1,
    resource: { 'service.name': 'kener-api' },
    batch: {
      scheduledDelayMillis: 5_000,
      exportTimeoutMillis: 30_000,
      maxQueueSize: 2_048,
      maxExportBatchSize: 512,
    },
  })
  const endpoints: [env: NodeJS.ProcessEnv, expected: string][] = [
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${url}/otlp/` }, `${url}/otlp/v1/traces`],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/spans` }, `${url}/spans`],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: url }, `${url}/`],
  ]
  for (const [env, expected] of endpoints) t.equal(tracing(env)?.url, expected)
})

await t.test('the variables about traces take precedence, and lists are decoded', async (t) => {
  const { tracing } = readConfig({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector',
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Basic%20YTpi, x-other = a=b ,',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'x-tenant=c',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json',
    OTEL_EXPORTER_OTLP_TIMEOUT: '5000',
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '700',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
    OTEL_RESOURCE_ATTRIBUTES: 'service.name=ignored,deployment.environment.name=Größe%2C1',
    OTEL_SERVICE_NAME: 'status',
    OTEL_TRACES_SAMPLER: 'traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
  })
  t.match(tracing, {
    headers: { authorization: 'Basic YTpi', 'x-tenant': 'c', 'x-other': 'a=b' },
    protocol: 'http/json',
    timeoutMs: 700,
    compression: 'gzip',
    resource: { 'service.name': 'status', 'deployment.environment.name': 'Größe,1' },
    sampler: 'traceidratio',
    samplerRatio: 0.25,
  })
})

await t.test('an invalid variable of OpenTelemetry is an error that does not show a secret', async (t) => {
  const bad: [name: string, ...values: string[]][] = [
    ['OTEL_SDK_DISABLED', 'yes'],
    ['OTEL_TRACES_EXPORTER', 'zipkin', 'otlp,console'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318', 'grpc://swordfish', 'http://u:swordfish@collector'],
    ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', '/swordfish'],
    [
      'OTEL_EXPORTER_OTLP_HEADERS',
      'swordfish',
      'a=swordfish%',
      'a b=swordfish',
      'a=swordfish%0a',
      '=swordfish',
    ],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_EXPORTER_OTLP_CERTIFICATE', '/nothing/ca.pem'],
    ['OTEL_EXPORTER_OTLP_COMPRESSION', 'zstd'],
    ['OTEL_EXPORTER_OTLP_TIMEOUT', '0', '10s'],
    ['OTEL_RESOURCE_ATTRIBUTES', 'a', '=b', 'a=%'],
    ['OTEL_TRACES_SAMPLER', 'jaeger_remote'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.1', '-0.1', '10%', '.'],
    ['OTEL_BSP_SCHEDULE_DELAY', '0'],
    ['OTEL_BSP_MAX_QUEUE_SIZE', '-1'],
  ]
  for (const [name, ...values] of bad) {
    for (const value of values) {
      const message = describeError(
        await Promise.resolve({ OTEL_TRACES_EXPORTER: 'otlp', [name]: value })
          .then(readConfig)
          .catch((error: unknown) => error),
      )
      t.match(message, new RegExp(`^kener-api: ${name} must be [^\\n]+\\n$`), `${name}=${value}`)
      t.notMatch(message, /swordfish/)
    }
  }
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
