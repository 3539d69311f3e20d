import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { Type, type Static, type TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { OperatorError } from './operator-error.ts'

/** The environment, as README.md lists it. `description` completes the sentence "NAME must be ...". */
const Environment = Type.Object({
  HOST: Type.String({ default: '127.0.0.1', description: 'a host name or an address' }),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535, description: 'a port from 0 to 65535' }),
  DATABASE_URL: Type.Optional(
    Type.String({
      pattern: '^postgres(ql)?://.+',
      description: 'a URL like postgres://user:password@host:5432/database',
    }),
  ),
  DATA_DIR: Type.String({ default: './data', description: 'a directory' }),
  DATABASE_POOL_MAX: positive(10, 1_000),
  RATE_LIMIT_MAX: positive(100, 1_000_000_000),
  PUBLIC_RATE_LIMIT_MAX: positive(60, 1_000_000_000),
  AUTH_FAILURE_LIMIT_MAX: positive(30, 1_000_000_000),
  TRUST_PROXY: Type.String({
    default: 'false',
    description: 'false, true, a number of hops, or a comma-separated list of addresses and CIDRs',
  }),
  DATA_RETENTION_DAYS: positive(90, 36_500),
  METRICS_PORT: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 65535, description: 'a port from 0 to 65535' }),
  ),
  LOG_LEVEL: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    default: 'info',
    description: 'one of trace, debug, info, warn, error, fatal, silent',
  }),
})

type Environment = Static<typeof Environment>

export type Config = ReturnType<typeof readConfig>

/** Adds what stands in `.env` here, if there is one, to the environment; what is set already wins. */
export function loadEnvFile(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
}

/**
 * The only reader of the environment. A variable that is empty counts as not set, because compose files pass
 * unset variables on as empty ones.
 * @throws OperatorError that names the variable
 */
export function readConfig(env: NodeJS.ProcessEnv) {
  const read = <Name extends keyof Environment>(name: Name) =>
    readVariable(name, Environment.properties[name], env[name]) as Environment[Name]
  return {
    host: read('HOST'),
    port: read('PORT'),
    databaseUrl: read('DATABASE_URL'),
    dataDir: read('DATA_DIR'),
    databasePoolMax: read('DATABASE_POOL_MAX'),
    rateLimitMax: read('RATE_LIMIT_MAX'),
    publicRateLimitMax: read('PUBLIC_RATE_LIMIT_MAX'),
    authFailureLimitMax: read('AUTH_FAILURE_LIMIT_MAX'),
    trustProxy: parseTrustProxy(read('TRUST_PROXY')),
    dataRetentionDays: read('DATA_RETENTION_DAYS'),
    metricsPort: read('METRICS_PORT'),
    logLevel: read('LOG_LEVEL'),
  }
}

/**
 * For the import alone: of no use to the service, which must not fail for it.
 * @throws OperatorError that names the variable, and never shows the key
 */
export function readKenerKey({ KENER_API_KEY: key = '' }: NodeJS.ProcessEnv): string {
  if (/^[\x21-\x7e]+$/.test(key)) return key
  throw new OperatorError('KENER_API_KEY must be an API key of the Kener that is imported')
}

function readVariable(name: string, schema: TSchema & { default?: unknown }, text = ''): unknown {
  if (text === '') return schema.default
  const value = 'type' in schema && schema.type === 'integer' && /^\d{1,15}$/.test(text) ? Number(text) : text
  const valid = Value.Check(schema, value) && (name !== 'DATABASE_URL' || URL.canParse(text))
  if (!valid) throw badVariable(name, schema, text)
  return value
}

function badVariable(name: string, schema: TSchema & { description?: string }, text: string): OperatorError {
  // A database URL holds a password, and this line ends up in logs.
  const shown = name === 'DATABASE_URL' ? '' : `, not ${JSON.stringify(text)}`
  return new OperatorError(`${name} must be ${schema.description ?? 'valid'}${shown}`)
}

/** As Fastify's trustProxy takes it. */
function parseTrustProxy(text: string): boolean | number | string[] {
  if (text === 'false' || text === 'true') return text === 'true'
  if (/^\d{1,3}$/.test(text)) return Number(text)
  const networks = text.split(',').map((network) => network.trim())
  if (!networks.every(isNetwork)) throw badVariable('TRUST_PROXY', Environment.properties.TRUST_PROXY, text)
  return networks
}

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  const bits = Number(prefix)
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && bits > 0 && bits <= (version === 4 ? 32 : 128))
}

function positive(fallback: number, maximum: number) {
  return Type.Integer({
    default: fallback,
    minimum: 1,
    maximum,
    description: `a whole number from 1 to ${maximum}`,
  })
}
