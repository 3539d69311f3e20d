import type { KeyStatus } from '../enums.ts'
import { OperatorError } from '../operator-error.ts'
import type { KeyObject } from '../wire/keys.ts'
import { assertOpen, type Io, print, printError, printKey } from './io.ts'
import {
  type Expiry,
  type KeyOptions,
  parseExpiry,
  parseKeyOptions,
  parseOverlap,
  parseUrl,
} from './key-options.ts'
import { type Backend, withBackend } from './backend.ts'

/** An option of all commands, and one of those that print keys. */
type Server = { url?: string | undefined }
type Format = { json?: boolean | undefined }

const copyNow = 'Copy the key now: it is not shown again.'

export async function createKey(
  io: Io,
  { url, expires, ...options }: Server & KeyOptions & { expires?: string | undefined },
): Promise<number> {
  const attributes = parseKeyOptions(options)
  const expiry = expires === undefined ? undefined : parseExpiry(expires)
  return withBackend(io, parseUrl(url), async (backend) => {
    const expires_at = (await resolveExpiry(backend, expiry)) ?? null
    const { key: token, ...key } = await backend.create({ ...attributes, expires_at })
    await printKey(io, token).catch((error: unknown) => revokeUnprinted(backend, key.id, error))
    printError(io, `Created ${describe(key)}\n${copyNow}\n`)
    return 0
  })
}

export async function listKeys(
  io: Io,
  { url, status, json = false }: Server & Format & { status: KeyStatus | undefined },
): Promise<number> {
  return withBackend(io, parseUrl(url), async (backend) => {
    const keys = await backend.list(status)
    await print(io, json ? toJson(keys) : keys.map((key) => `${describe(key)}\n`).join(''))
    if (keys.length === 0 && !json) {
      printError(
        io,
        status === undefined
          ? 'There are no keys yet. Run keys create to create one.\n'
          : `No key is ${status}.\n`,
      )
    }
    return 0
  })
}

export async function showKey(io: Io, id: string, { url, json = false }: Server & Format): Promise<number> {
  return withBackend(io, parseUrl(url), async (backend) => {
    const key = await backend.show(id)
    await print(io, json ? toJson(key) : formatFields(key))
    return 0
  })
}

export async function rotateKey(
  io: Io,
  id: string,
  { url, overlap, expires }: Server & { overlap?: string | undefined; expires?: string | undefined },
): Promise<number> {
  const overlapSeconds = parseOverlap(overlap)
  const expiry = expires === undefined ? undefined : parseExpiry(expires)
  const stateOfOld =
    overlapSeconds === 0 ? 'has expired' : `remains valid for ${overlap ?? ''}, unless it expires before`
  return withBackend(io, parseUrl(url), async (backend) => {
    // Before the rotation, which cannot be undone.
    assertOpen(io)
    const expiresAt = await resolveExpiry(backend, expiry)
    const { key: token, ...key } = await backend.rotate(id, { overlapSeconds, expiresAt })
    await printKey(io, token).catch((error: unknown) =>
      revokeUnprinted(
        backend,
        key.id,
        error,
        `. The old key ${id} ${stateOfOld}, and cannot be rotated again: create a new key with keys create`,
      ),
    )
    printError(io, `Created ${describe(key)}\n${copyNow} The old key ${id} ${stateOfOld}.\n`)
    return 0
  })
}

export async function revokeKey(io: Io, id: string, { url }: Server): Promise<number> {
  return withBackend(io, parseUrl(url), async (backend) => {
    printError(io, `Revoked ${describe(await backend.revoke(id))}\n`)
    return 0
  })
}

/** Revokes a key that was created but not printed. @param consequence continues the error */
async function revokeUnprinted(
  backend: Backend,
  id: string,
  error: unknown,
  consequence = '',
): Promise<never> {
  const reason = messageOf(error)
  await backend.revoke(id).catch((failure: unknown) => {
    throw new OperatorError(
      `The key could not be printed (${reason}), and could not be revoked either (${messageOf(failure)}): run keys revoke ${id}${consequence}`,
    )
  })
  throw new OperatorError(`The key could not be printed, so it was revoked: ${reason}${consequence}`)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Adds a duration to the time of the service, because that time decides about expiry. */
async function resolveExpiry(backend: Backend, expiry: Expiry | undefined): Promise<Date | undefined> {
  if (expiry === undefined) return undefined
  return 'at' in expiry ? expiry.at : new Date((await backend.now()).getTime() + expiry.afterMs)
}

/** Formats a key as one line. */
function describe(key: KeyObject): string {
  const { id, status, name, permissions, expires_at, last_used_at, monitors, allowed_ips } = key
  const parts = [
    id,
    status,
    // Formatted as JSON, so that it cannot break the line.
    JSON.stringify(name),
    permissions.join(','),
    expires_at === null ? 'never expires' : `expires ${expires_at}`,
    last_used_at === null ? 'never used' : `last used ${last_used_at}`,
  ]
  if (monitors) parts.push(`monitors ${shorten(monitors)}`)
  if (allowed_ips) parts.push(`from ${shorten(allowed_ips)}`)
  return parts.join('  ')
}

/** Longest list on a line. */
const maxItems = 3

function shorten(items: string[]): string {
  const more = items.length - maxItems
  return items.slice(0, maxItems).join(',') + (more > 0 ? ` and ${more} more` : '')
}

/** The meaning of null, if it is not "none". */
const nullMeanings: Record<string, string> = {
  rate_limit: 'default',
  monitors: 'all',
  allowed_ips: 'any',
  expires_at: 'never',
  last_used_at: 'never',
  revoked_at: 'never',
}

/** Formats all fields, one per line. */
function formatFields(key: KeyObject): string {
  return Object.entries(key)
    .map(([name, value]) => `${name}: ${formatField(name, value)}\n`)
    .join('')
}

function formatField(name: string, value: KeyObject[keyof KeyObject]): string {
  if (value === null) return nullMeanings[name] ?? 'none'
  if (Array.isArray(value)) return value.join(', ')
  if (typeof value === 'object') return `${value.key_id} ${JSON.stringify(value.key_name)}`
  // Texts that people entered are JSON, so that they cannot break the line.
  return name === 'name' || name === 'description' ? JSON.stringify(value) : String(value)
}

function toJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
