import { isDeepStrictEqual } from 'node:util'
import type { ApiError } from '../../errors.ts'
import type { NewKey } from '../../keys/lifecycle.ts'
import type { ExpiryLimits } from '../../keys/expiry.ts'
import type { ApiKey, KeyChanges } from '../../keys/repository.ts'
import type { Permission } from '../../permissions.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { CreateKey } from '../../wire/keys.ts'
import { findErrors } from '../../wire/validator.ts'
import { formatDateTime } from '../../wire/time-text.ts'
import { type FieldErrors, readText, readTexts, toFieldErrors, toSavedValues } from '../form.ts'
import { type ExpiryForm, isExpiryKept, parseExpiry, readExpiry } from './expiry.tsx'

/** Longest body of a form with the longest fields, percent-encoded. */
export const keyFormLimitBytes = 65_536

/** Values as entered, so that a rejected form is shown again without loss. */
export type KeyForm = EnteredAttributes & ExpiryForm

type EnteredAttributes = {
  name: string
  description: string
  permissions: string[]
  /** Tags and prefixes, one per line or separated by commas. */
  monitors: string
  /** Addresses and CIDRs, in the same form. */
  allowedIps: string
  rateLimit: string
}

export const emptyKeyForm: KeyForm = {
  name: '',
  description: '',
  permissions: [],
  monitors: '',
  allowedIps: '',
  rateLimit: '',
  expiry: '',
  expiryDate: '',
}

export function readKeyForm(body: unknown): KeyForm {
  return { ...readAttributes(body), ...readExpiry(body, 'never') }
}

/** True if the form makes a key an admin key, or changes one. */
export function grantsAdmin(body: unknown): boolean {
  return readTexts(body, 'permissions').includes('admin')
}

function readAttributes(body: unknown): EnteredAttributes {
  const read = (name: string) => readText(body, name).trim()
  return {
    name: read('name'),
    // Browsers send each line break of a text area as CRLF.
    description: read('description').replaceAll('\r\n', '\n'),
    permissions: readTexts(body, 'permissions'),
    monitors: read('monitors'),
    allowedIps: read('allowed_ips'),
    rateLimit: read('rate_limit'),
  }
}

export function fillKeyForm(key: ApiKey): KeyForm {
  return {
    name: key.name,
    description: key.description ?? '',
    permissions: key.permissions,
    monitors: key.monitors?.join('\n') ?? '',
    allowedIps: key.allowed_ips?.join('\n') ?? '',
    rateLimit: key.rate_limit === null ? '' : String(key.rate_limit),
    expiry: 'keep',
    expiryDate: '',
  }
}

/**
 * Parses the form of a new key with the schema of POST /api/keys.
 * @param now by the clock of the database.
 * @throws ApiError 400, whose details name the fields as the API does.
 */
export function parseNewKey(form: KeyForm, limits: ExpiryLimits, now: Date): NewKey {
  return { ...parseAttributes(form), expires_at: parseExpiry(form, limits, now) }
}

/** Parses the form of an existing key. Returns only what the form changes. @throws ApiError 400, as parseNewKey */
export function parseKeyChanges(form: KeyForm, key: ApiKey, limits: ExpiryLimits, now: Date): KeyChanges {
  const changes = Object.entries(parseAttributes(form)).filter(
    ([name, value]) => !isDeepStrictEqual(sorted(value), sorted(key[name as keyof EditableAttributes])),
  )
  return {
    ...Object.fromEntries(changes),
    ...(!isExpiryKept(form) && { expires_at: parseExpiry(form, limits, now) }),
  }
}

type EditableAttributes = ReturnType<typeof toAttributes>

/** Returns the saved values that differ from the entered ones, by field name. */
export function compareKeyForm(form: KeyForm, key: ApiKey): FieldErrors {
  const toTexts = ({ name, description, permissions, monitors, allowedIps, rateLimit }: KeyForm) => ({
    name,
    description,
    permissions: permissions.toSorted().join(', '),
    monitors: describeList(monitors),
    allowed_ips: describeList(allowedIps),
    rate_limit: rateLimit,
  })
  return {
    ...toSavedValues(toTexts(form), toTexts(fillKeyForm(key))),
    // The choice that keeps the expiry shows the saved one.
    ...(!isExpiryKept(form) && {
      expires_at: `Saved: ${key.expires_at === null ? 'never' : formatDateTime(key.expires_at)}`,
    }),
  }
}

function describeList(text: string): string {
  return (parseList(text) ?? []).toSorted().join(', ')
}

function sorted(value: unknown): unknown {
  return Array.isArray(value) ? value.toSorted() : value
}

function parseAttributes(entered: EnteredAttributes) {
  const attributes = toAttributes(entered)
  const errors = findErrors(CreateKey, attributes)
  if (errors.length > 0) throw fromAjvErrors(errors)
  return attributes
}

function toAttributes({
  name,
  description,
  permissions,
  monitors,
  allowedIps,
  rateLimit,
}: EnteredAttributes) {
  return {
    name,
    description: description === '' ? null : description,
    permissions: permissions as Permission[],
    monitors: parseList(monitors),
    allowed_ips: parseList(allowedIps),
    rate_limit: rateLimit === '' ? null : /^\d{1,15}$/.test(rateLimit) ? Number(rateLimit) : NaN,
  }
}

function parseList(text: string): string[] | null {
  const items = text.split(/[\r\n,]/).map((item) => item.trim())
  const entered = items.filter((item) => item !== '')
  return entered.length === 0 ? null : entered
}

/** Replaces messages of the API, which name fields and types of JSON. Quotes the line that a message is about. */
export function toKeyFieldErrors(error: ApiError, form: KeyForm): FieldErrors {
  const isAdmin = form.permissions.includes('admin')
  const messages: Record<string, string> = {
    name: 'Enter a name of 1 to 100 characters',
    description: 'Enter at most 1,000 characters',
    permissions: isAdmin
      ? 'A key with the permission admin cannot be limited to monitors: clear that field as well'
      : 'Select at least one of these permissions',
    ...(isAdmin && {
      monitors: 'A key with the permission admin may use all monitors: clear this field, or deselect admin',
    }),
    rate_limit: 'Enter a whole number from 1 to 1,000,000,000, or leave the field empty for the default',
  }
  const lists = { monitors: parseList(form.monitors) ?? [], allowed_ips: parseList(form.allowedIps) ?? [] }
  return toFieldErrors(error, ({ path, message }) => {
    const [, name = '', index] = path.split('/')
    if (index !== undefined && name === 'monitors')
      return `${quote(lists.monitors[Number(index)])} is not a tag, nor the start of a tag followed by *`
    if (index !== undefined && name === 'allowed_ips')
      return `${quote(lists.allowed_ips[Number(index)])} is not an address or a CIDR`
    return messages[name] ?? message
  })
}

function quote(line = ''): string {
  return line.length > 60 ? `“${line.slice(0, 60).toWellFormed()}…”` : `“${line}”`
}
