import { existsSync, readFileSync } from 'node:fs'
import { parseDatabaseUrl } from './database-url.ts'
import { isNetwork } from './networks.ts'
import { OperatorError } from './operator-error.ts'
import { quote } from './terminal.ts'

export type Config = ReturnType<typeof readConfig>

export type TracingConfig = NonNullable<Config['tracing']>

/**
 * Adds the variables of `.env` in the working directory, if there is one, to the environment. Variables that are set
 * win.
 */
export function loadEnvFile(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
}

/**
 * Reads the environment variables that docs/configuration.md lists. Nothing else reads the environment. An empty
 * variable counts as not set, because compose files pass unset variables on as empty ones.
 * @throws OperatorError that names the variable
 */
export function readConfig(env: NodeJS.ProcessEnv) {
  const read = createReader(env)
  return {
    host: env.HOST || '127.0.0.1',
    port: read('PORT', port, 3000),
    databaseUrl: readDatabaseUrl(env, 'DATABASE_URL'),
    databaseDirectUrl: readDatabaseUrl(env, 'DATABASE_DIRECT_URL'),
    databasePreparedStatements: read('DATABASE_PREPARED_STATEMENTS', onOrOff, true),
    dataDir: env.DATA_DIR || './data',
    databasePoolMax: read('DATABASE_POOL_MAX', positiveInteger(1_000), 10),
    rateLimitMax: read('RATE_LIMIT_MAX', positiveInteger(1_000_000_000), 100),
    publicRateLimitMax: read('PUBLIC_RATE_LIMIT_MAX', positiveInteger(1_000_000_000), 60),
    authFailureLimitMax: read('AUTH_FAILURE_LIMIT_MAX', positiveInteger(1_000_000_000), 30),
    trustProxy: read('TRUST_PROXY', trustProxy, false),
    dataRetentionDays: read('DATA_RETENTION_DAYS', positiveInteger(36_500), 90),
    auditRetentionDays: read('AUDIT_RETENTION_DAYS', positiveInteger(36_500), 400),
    keyLifetimeMaxDays: read('KEY_LIFETIME_MAX_DAYS', positiveInteger(36_500), null),
    publicPage: read('PUBLIC_PAGE', onOrOff, true),
    siteName: read('SITE_NAME', siteName, 'Status'),
    siteUrl: read('SITE_URL', siteUrl, undefined),
    metricsPort: read('METRICS_PORT', port, undefined),
    logLevel: read('LOG_LEVEL', oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'), 'info'),
    tracing: readTracing(read),
  }
}

/**
 * Reads OpenTelemetry's variables about traces. Null: tracing is off. Without a variable it is off, although
 * OpenTelemetry's default is a collector on this machine, so that it costs nothing unless it is wanted.
 */
function readTracing(read: Reader) {
  const isDisabled = read('OTEL_SDK_DISABLED', trueOrFalse, false)
  const exporter = read('OTEL_TRACES_EXPORTER', oneOf('otlp', 'none'), undefined)
  const base = read('OTEL_EXPORTER_OTLP_ENDPOINT', endpoint, exporter && new URL('http://localhost:4318'))
  const url = read('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', endpoint, base && toTracesUrl(base))
  if (isDisabled || exporter === 'none' || !url) return null

  /** The variable about traces takes precedence over the one about all signals. */
  function readForTraces<Value, Default>(name: string, kind: Kind<Value>, initial: Default) {
    return (
      read(`OTEL_EXPORTER_OTLP_TRACES_${name}`, kind, undefined) ??
      read(`OTEL_EXPORTER_OTLP_${name}`, kind, initial)
    )
  }

  const serviceName = read('OTEL_SERVICE_NAME', anyText, undefined)
  return {
    url: url.href,
    protocol: readForTraces('PROTOCOL', oneOf('http/protobuf', 'http/json'), 'http/protobuf'),
    // Combined, as the exporter does itself.
    headers: {
      ...read('OTEL_EXPORTER_OTLP_HEADERS', headers, {}),
      ...read('OTEL_EXPORTER_OTLP_TRACES_HEADERS', headers, {}),
    },
    tls: {
      ca: readForTraces('CERTIFICATE', file, undefined),
      cert: readForTraces('CLIENT_CERTIFICATE', file, undefined),
      key: readForTraces('CLIENT_KEY', file, undefined),
    },
    compression: readForTraces('COMPRESSION', oneOf('gzip', 'none'), 'none'),
    timeoutMs: readForTraces('TIMEOUT', positiveInteger(600_000), 10_000),
    sampler: read(
      'OTEL_TRACES_SAMPLER',
      oneOf(
        'always_on',
        'always_off',
        'traceidratio',
        'parentbased_always_on',
        'parentbased_always_off',
        'parentbased_traceidratio',
      ),
      'parentbased_always_on',
    ),
    samplerRatio: read('OTEL_TRACES_SAMPLER_ARG', ratio, 1),
    resource: {
      'service.name': 'kener-api',
      ...read('OTEL_RESOURCE_ATTRIBUTES', attributes, {}),
      ...(serviceName !== undefined && { 'service.name': serviceName }),
    },
    batch: {
      scheduledDelayMillis: read('OTEL_BSP_SCHEDULE_DELAY', positiveInteger(600_000), 5_000),
      exportTimeoutMillis: read('OTEL_BSP_EXPORT_TIMEOUT', positiveInteger(600_000), 30_000),
      maxQueueSize: read('OTEL_BSP_MAX_QUEUE_SIZE', positiveInteger(1_000_000), 2_048),
      maxExportBatchSize: read('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', positiveInteger(1_000_000), 512),
    },
  }
}

/** OpenTelemetry appends the path to the endpoint of all signals. */
function toTracesUrl(base: URL): URL {
  const url = new URL(base)
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/v1/traces`
  return url
}

/** Reads the key with which commands call the API of a running server. Undefined: it is not set. */
export function readApiKey(env: NodeJS.ProcessEnv): string | undefined {
  return env.KENER_API_KEY || undefined
}

/**
 * Reads the API key of the Kener that is imported, and the variable that contains it. Falls back to KENER_API_KEY, which
 * earlier versions read: it may contain a key of this service. The key is not part of Config, because the service must
 * not fail if the variable is invalid.
 * @throws OperatorError that names the variables, and never shows the key
 */
export function readSourceKey(env: NodeJS.ProcessEnv): { key: string; variable: string } {
  const variable = env.KENER_SOURCE_API_KEY ? 'KENER_SOURCE_API_KEY' : 'KENER_API_KEY'
  const key = env[variable] ?? ''
  if (/^[\x21-\x7e]+$/.test(key)) return { key, variable }
  throw new OperatorError(
    'KENER_SOURCE_API_KEY must be set to an API key of the Kener that is imported (or KENER_API_KEY, if KENER_SOURCE_API_KEY is not set)',
  )
}

/** @throws OperatorError that does not show the URL, because it contains a password */
function readDatabaseUrl(env: NodeJS.ProcessEnv, variable: string): string | undefined {
  const url = env[variable]
  if (!url) return undefined
  parseDatabaseUrl(url, variable)
  return url
}

type Reader = ReturnType<typeof createReader>

function createReader(env: NodeJS.ProcessEnv) {
  return <Value, Default>(
    name: string,
    { parse, rule, isSecret = false }: Kind<Value>,
    initial: Default,
  ): Value | Default => {
    const text = env[name] ?? ''
    if (text === '') return initial
    const value = parse(text)
    if (value !== undefined) return value
    throw new OperatorError(`${name} must be ${rule}${isSecret ? '' : `, not ${quote(text)}`}`)
  }
}

/**
 * `parse` returns undefined for an invalid value. `rule` completes the sentence "NAME must be ...". A secret value is not
 * shown.
 */
type Kind<Value> = { parse: (text: string) => Value | undefined; rule: string; isSecret?: boolean }

const port: Kind<number> = { parse: (text) => parseInteger(text, 0, 65_535), rule: 'a port from 0 to 65535' }

const onOrOff: Kind<boolean> = {
  parse: (text) => (text === 'on' ? true : text === 'off' ? false : undefined),
  rule: 'on or off',
}

const siteName: Kind<string> = {
  parse: (text) => (/^[^\p{Cc}\p{Cs}]{1,100}$/u.test(text) && text.trim() !== '' ? text.trim() : undefined),
  rule: 'a text of 1 to 100 characters',
}

/** Returned without a trailing slash, so that a path can follow it. */
const siteUrl: Kind<string> = {
  parse(text) {
    const url = URL.canParse(text) ? new URL(text) : undefined
    const isBase = url && /^https?:\/\/[^?#@]+$/.test(url.href)
    return isBase ? url.href.replace(/\/+$/, '') : undefined
  },
  rule: 'a URL like https://status.example.com, without user, query and fragment',
}

/** The values of Fastify's trustProxy. */
const trustProxy: Kind<boolean | number | string[]> = {
  parse(text) {
    if (text === 'false' || text === 'true') return text === 'true'
    if (/^\d{1,3}$/.test(text)) return Number(text)
    const networks = text.split(',').map((network) => network.trim())
    // A prefix of 0 bits would trust every address: that is TRUST_PROXY=true.
    return networks.every((network) => isNetwork(network) && !/\/0+$/.test(network)) ? networks : undefined
  },
  rule: 'false, true, a number of hops, or a comma-separated list of addresses and CIDRs',
}

const trueOrFalse: Kind<boolean> = {
  parse: (text) => (/^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined),
  rule: 'true or false',
}

const anyText: Kind<string> = { parse: (text) => text, rule: 'a text' }

const ratio: Kind<number> = {
  parse: (text) => (/^(0(\.\d+)?|1(\.0+)?|\.\d+)$/.test(text) ? Number(text) : undefined),
  rule: 'a number from 0 to 1',
}

/** Some providers have a token in it. */
const endpoint: Kind<URL> = {
  parse(text) {
    const url = URL.canParse(text) ? new URL(text) : undefined
    return url && /^https?:$/.test(url.protocol) && url.username + url.password === '' ? url : undefined
  },
  rule: 'a URL like http://collector:4318, without user and password',
  isSecret: true,
}

/** Returns the contents. */
const file: Kind<Buffer> = {
  parse(text) {
    try {
      return readFileSync(text)
    } catch {
      return undefined
    }
  },
  rule: 'the path of a file that can be read',
}

const headers: Kind<Record<string, string>> = {
  parse: (text) =>
    parsePairs(text, (name, value) => /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\x20-\x7e]*$/.test(value)),
  rule: 'a list like name=value,name=value, with values percent-encoded',
  isSecret: true,
}

const attributes: Kind<Record<string, string>> = {
  parse: (text) => parsePairs(text, (name) => name !== ''),
  rule: 'a list like name=value,name=value, with values percent-encoded',
}

/** Parses OpenTelemetry's lists (W3C Baggage without properties). */
function parsePairs(
  text: string,
  isValid: (name: string, value: string) => boolean,
): Record<string, string> | undefined {
  const pairs: Record<string, string> = {}
  for (const pair of text.split(',')) {
    if (pair.trim() === '') continue
    const [, name = '', encoded = ''] = /^\s*(.*?)\s*=\s*(.*?)\s*$/s.exec(pair) ?? []
    const value = decode(encoded)
    if (value === undefined || !isValid(name, value)) return undefined
    pairs[name] = value
  }
  return pairs
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function oneOf<const Value extends string>(...values: Value[]): Kind<Value> {
  return {
    parse: (text) => values.find((value) => value === text),
    rule: `one of ${values.join(', ')}`,
  }
}

function positiveInteger(max: number): Kind<number> {
  return { parse: (text) => parseInteger(text, 1, max), rule: `a whole number from 1 to ${max}` }
}

function parseInteger(text: string, min: number, max: number): number | undefined {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
  return value >= min && value <= max ? value : undefined
}
