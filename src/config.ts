import { existsSync } from 'node:fs'
import { parseDatabaseUrl } from './database-url.ts'
import { isNetwork } from './networks.ts'
import { OperatorError } from './operator-error.ts'
import { quote } from './terminal.ts'

export type Config = ReturnType<typeof readConfig>

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

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
  function read<Value, Default>(
    name: string,
    { parse, rule }: Kind<Value>,
    initial: Default,
  ): Value | Default {
    const text = env[name] ?? ''
    if (text === '') return initial
    const value = parse(text)
    if (value !== undefined) return value
    throw new OperatorError(`${name} must be ${rule}, not ${quote(text)}`)
  }

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
    logLevel: read('LOG_LEVEL', logLevel, 'info'),
  }
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

/** `parse` returns undefined for an invalid value. `rule` completes the sentence "NAME must be ...". */
type Kind<Value> = { parse: (text: string) => Value | undefined; rule: string }

const port: Kind<number> = { parse: (text) => parseInteger(text, 0, 65_535), rule: 'a port from 0 to 65535' }

const logLevel: Kind<(typeof logLevels)[number]> = {
  parse: (text) => logLevels.find((level) => level === text),
  rule: `one of ${logLevels.join(', ')}`,
}

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

function positiveInteger(max: number): Kind<number> {
  return { parse: (text) => parseInteger(text, 1, max), rule: `a whole number from 1 to ${max}` }
}

function parseInteger(text: string, min: number, max: number): number | undefined {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
  return value >= min && value <= max ? value : undefined
}
