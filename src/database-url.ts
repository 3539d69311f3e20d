import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { OperatorError } from './operator-error.ts'

/** Where and how to connect: options of pg. What is undefined has pg's default, or the value of libpq's variables. */
export type DatabaseTarget = {
  host: string | undefined
  port: number | undefined
  user: string | undefined
  password: string | undefined
  database: string | undefined
  /** Command-line options of the session, such as `-csearch_path=kener`. */
  options: string | undefined
  ssl: ConnectionOptions | false | undefined
  /** True if a server without TLS is accepted, too. */
  isTlsOptional: boolean
}

/** A message that continues the name of the variable. */
class UrlError extends Error {}

const rule = 'must be a URL like postgres://user:password@host:5432/database'

/**
 * Parses a URL as libpq does (PostgreSQL documentation, section 34.1.1): unix sockets, IPv6, percent-encoded
 * parts, sslmode and sslrootcert. Ignores parameters that have no meaning here. Without sslmode, TLS is not used.
 *
 * Not with pg-connection-string, which rejects a URL without a host, does not know all modes, and reports errors that do
 * not name the variable.
 *
 * @param variable the environment variable that contains it
 * @throws OperatorError of one line, which never contains the password
 */
export function parseDatabaseUrl(text: string, variable = 'DATABASE_URL'): DatabaseTarget {
  try {
    return parse(text)
  } catch (error) {
    throw error instanceof UrlError ? new OperatorError(`${variable}${error.message}`) : error
  }
}

function parse(text: string): DatabaseTarget {
  const url = text.trim()
  if (/^["'`]|["'`]$/.test(url)) throw new UrlError(` ${rule}, without quotes`)
  // The user name and the password end at the last @ before the first slash.
  const parts = /^postgres(?:ql)?:\/\/(?:([^/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(url)
  if (!parts || /^postgres(ql)?:\/\/$/.test(url)) throw new UrlError(` ${rule}`)
  const [, userInfo = '', address = '', path = '', query = ''] = parts
  const [, user = '', password = ''] = /^([^:]*):?(.*)$/s.exec(userInfo) ?? []
  const [, ipv6, name = '', port = ''] = /^(?:\[([^\]]*)\]|([^:[\]@,]*))(?::(\d*))?$/.exec(address) ?? fail()
  const parameters = new Map<string, string>()
  for (const pair of query.split('&')) {
    const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(pair) ?? []
    parameters.set(decode(name), decode(value))
  }
  const read = (name: string, part: string) => parameters.get(name) || decode(part) || undefined
  const host = read('host', ipv6 ?? name)
  return {
    host,
    port: toPort(read('port', port)),
    user: read('user', user),
    password: read('password', password),
    database: read('dbname', path),
    options: read('options', ''),
    // libpq ignores sslmode for unix sockets.
    ...(host?.startsWith('/') ? { ssl: false, isTlsOptional: false } : toTls(parameters)),
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return fail()
  }
}

function toPort(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : fail()
}

function fail(): never {
  throw new UrlError(
    ` ${rule}. Percent-encode special characters of the user name and the password: / is %2F, @ is %40, % is %25`,
  )
}

/** The modes as libpq defines them (PostgreSQL documentation, section 34.19), and node-postgres' no-verify. */
function toTls(parameters: Map<string, string>): Pick<DatabaseTarget, 'ssl' | 'isTlsOptional'> {
  const readFile = (name: string) => readParameterFile(name, parameters.get(name))
  const rootCert = parameters.get('sslrootcert')
  // libpq's name of the certificate authorities of the system, which are Node's default.
  const ca = rootCert === 'system' ? undefined : readFile('sslrootcert')
  const [cert, key] = [readFile('sslcert'), readFile('sslkey')]
  const options = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
  const mode = parameters.get('sslmode') ?? (rootCert ? 'verify-full' : readJdbcMode(parameters.get('ssl')))
  const verified = (ssl: ConnectionOptions = {}) => ({ ssl: { ...options, ...ssl }, isTlsOptional: false })

  switch (mode) {
    case undefined:
      return { ssl: undefined, isTlsOptional: false }
    case 'disable':
      return { ssl: false, isTlsOptional: false }
    case 'allow':
    case 'prefer':
      return { ssl: { ...options, rejectUnauthorized: false }, isTlsOptional: true }
    case 'require':
    case 'no-verify':
      return verified(ca ? { checkServerIdentity: () => undefined } : { rejectUnauthorized: false })
    case 'verify-ca':
      if (!ca) throw new UrlError(': sslmode=verify-ca requires sslrootcert')
      return verified({ checkServerIdentity: () => undefined })
    case 'verify-full':
      return verified()
    default:
      throw new UrlError(': sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full')
  }
}

/** Parameters of JDBC and node-postgres. libpq also reads ssl=true. */
function readJdbcMode(ssl: string | undefined): string | undefined {
  return ssl === 'true' || ssl === '1' || ssl === 'no-verify' ? 'require' : undefined
}

function readParameterFile(name: string, path: string | undefined): string | undefined {
  if (!path) return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UrlError(`: the file of ${name}, ${path}, cannot be read (${String(code)})`)
  }
}
