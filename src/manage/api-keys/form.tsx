import { invalidRequest } from '../../errors.ts'
import type { NewKey } from '../../keys/lifecycle.ts'
import type { ApiKey, KeyChanges } from '../../keys/repository.ts'
import { type Permission, permissionDescriptions, permissions } from '../../permissions.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { CreateKey } from '../../wire/keys.ts'
import { parseTime } from '../../wire/time.ts'
import { findErrors } from '../../wire/validator.ts'
import { type FieldErrors, readText, readTexts } from '../form.ts'
import { formatDateTime, formatNumber } from '../format.ts'
import { Field, FieldGroup } from '../ui.tsx'

/** Values as entered, so that a rejected form is shown again without loss. */
export type KeyForm = {
  name: string
  permissions: string[]
  expiry: string
  expiryDate: string
  rateLimit: string
}

export const emptyKeyForm: KeyForm = {
  name: '',
  permissions: [],
  expiry: 'never',
  expiryDate: '',
  rateLimit: '',
}

type Choice = [value: string, label: string]

const never: Choice = ['never', 'Never']

const presets: Choice[] = [
  ['7', 'In 7 days'],
  ['30', 'In 30 days'],
  ['90', 'In 90 days'],
  ['365', 'In 1 year'],
  ['date', 'On a date'],
]

export function readKeyForm(body: unknown): KeyForm {
  return {
    ...readAttributes(body),
    expiry: readText(body, 'expiry') || 'never',
    expiryDate: readText(body, 'expiry_date').trim(),
  }
}

/** Values of an existing key when its form was opened. The form contains them in hidden fields. */
export type OriginalAttributes = Pick<KeyForm, 'name' | 'permissions' | 'rateLimit'>

export function readOriginal(body: unknown): OriginalAttributes {
  return readAttributes(body, 'original_')
}

function readAttributes(body: unknown, prefix = ''): OriginalAttributes {
  return {
    name: readText(body, `${prefix}name`).trim(),
    permissions: readTexts(body, `${prefix}permissions`),
    rateLimit: readText(body, `${prefix}rate_limit`).trim(),
  }
}

export function fillKeyForm(key: ApiKey): KeyForm {
  return {
    name: key.name,
    permissions: key.permissions,
    expiry: 'keep',
    expiryDate: '',
    rateLimit: key.rate_limit === null ? '' : String(key.rate_limit),
  }
}

/**
 * Parses the form of a new key with the schema of POST /api/keys.
 * @param now by the clock of the database.
 * @throws ApiError 400, whose details name the fields as the API does.
 */
export function parseNewKey(form: KeyForm, now: Date): NewKey {
  return { ...parseAttributes(form), expires_at: parseExpiry(form, now) }
}

/**
 * Parses the form of an existing key. Returns only what the form changes, so that concurrent changes of other fields are
 * not overwritten.
 */
export function parseKeyChanges(form: KeyForm, original: OriginalAttributes, now: Date): KeyChanges {
  const { name, permissions, rate_limit } = parseAttributes(form)
  const isExpiryKept = form.expiry === 'keep' && form.expiryDate === ''
  return {
    ...(form.name !== original.name && { name }),
    ...(!hasSameItems(form.permissions, original.permissions) && { permissions }),
    ...(form.rateLimit !== original.rateLimit && { rate_limit }),
    ...(!isExpiryKept && { expires_at: parseExpiry(form, now) }),
  }
}

function hasSameItems(a: string[], b: string[]): boolean {
  return a.length === b.length && a.every((item) => b.includes(item))
}

function parseAttributes({ name, permissions, rateLimit }: KeyForm) {
  const attributes = {
    name,
    permissions: permissions as Permission[],
    rate_limit: rateLimit === '' ? null : /^\d{1,15}$/.test(rateLimit) ? Number(rateLimit) : NaN,
  }
  const errors = findErrors(CreateKey, attributes)
  if (errors.length > 0) throw fromAjvErrors(errors)
  return attributes
}

function parseExpiry({ expiry, expiryDate }: KeyForm, now: Date): Date | null {
  // Without JavaScript the date field is visible with every choice. "Never" with a date means the date, because a
  // shorter lifetime is the safer interpretation.
  if (expiry === 'date' || (expiry === 'never' && expiryDate !== '')) return parseDate(expiryDate, now)
  if (expiryDate !== '') throw invalidExpiry('Choose "On a date" to use this date, or clear it')
  if (expiry === 'never') return null
  if (!presets.some(([value]) => value === expiry)) throw invalidExpiry('Choose an expiry from the list')
  return new Date(now.getTime() + Number(expiry) * 86_400_000)
}

/** Returns the last second of the day. */
function parseDate(date: string, now: Date): Date {
  const time = parseTime(`${date}T23:59:59Z`)
  if (!time) throw invalidExpiry('Enter a date, such as 2027-12-31')
  // The API accepts a past date to expire a key. In the form it is a mistake, because the page offers Revoke.
  if (time <= now) throw invalidExpiry('Enter a date in the future')
  return time
}

const invalidExpiry = (message: string) => invalidRequest(message, [{ path: '/expires_at', message }])

/** Replace the messages of the API, which name fields and types of JSON. */
const fieldMessages: Record<string, string> = {
  name: 'Enter a name of 1 to 100 characters',
  permissions: 'Select at least one of these permissions',
  rate_limit: 'Enter a whole number from 1 to 1,000,000,000, or leave the field empty for the default',
}

type Props = {
  form: KeyForm
  errors: FieldErrors
  rateLimitMax: number
  /** Current expiry of an existing key; undefined for a new key. */
  currentExpiry?: Date | null
}

/** Hidden fields with which parseKeyChanges finds what the form changes. */
export function OriginalFields({ name, permissions, rateLimit }: OriginalAttributes) {
  return (
    <>
      <input type="hidden" name="original_name" value={name} />
      {permissions.map((permission) => (
        <input type="hidden" name="original_permissions" value={permission} key={permission} />
      ))}
      <input type="hidden" name="original_rate_limit" value={rateLimit} />
    </>
  )
}

export function KeyFields({ form, errors, rateLimitMax, currentExpiry }: Props) {
  const messageFor = (name: string) => errors[name] && (fieldMessages[name] ?? errors[name])
  const choices = [...expiryChoices(currentExpiry), ...presets]
  return (
    <>
      <Field
        id="name"
        label="Name"
        hint="Describe the client that uses the key, for example: monitoring-service"
        error={messageFor('name')}
      >
        {(ariaProps) => (
          <input
            id="name"
            name="name"
            value={form.name}
            required
            maxLength={100}
            autocomplete="off"
            {...ariaProps}
          />
        )}
      </Field>
      <FieldGroup
        id="permissions"
        label="Permissions"
        hint="Select only what the client needs. Permissions are independent of one another; admin includes all of them."
        error={messageFor('permissions')}
      >
        {permissions.map((permission) => (
          <label class="choice" key={permission}>
            <input
              type="checkbox"
              name="permissions"
              value={permission}
              checked={form.permissions.includes(permission)}
            />
            <span>
              <code>{permission}</code> <span class="muted">{permissionDescriptions[permission]}</span>
            </span>
          </label>
        ))}
      </FieldGroup>
      <div class="columns">
        <Field id="expiry" label="Expiry" error={messageFor('expires_at')}>
          {(ariaProps) => (
            <select id="expiry" name="expiry" {...ariaProps}>
              {choices.map(([value, label]) => (
                <option key={value} value={value} selected={form.expiry === value}>
                  {label}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field id="expiry-date" label="Date" hint="The key expires at the end of this day (UTC).">
          {(ariaProps) => (
            <input
              id="expiry-date"
              name="expiry_date"
              type="date"
              value={form.expiryDate}
              data-shown-with="expiry=date"
              {...ariaProps}
            />
          )}
        </Field>
      </div>
      <Field
        id="rate-limit"
        label="Requests per minute"
        hint={`Leave empty for the default of ${formatNumber(rateLimitMax)}.`}
        error={messageFor('rate_limit')}
      >
        {(ariaProps) => (
          <input
            id="rate-limit"
            name="rate_limit"
            inputMode="numeric"
            value={form.rateLimit}
            autocomplete="off"
            {...ariaProps}
          />
        )}
      </Field>
    </>
  )
}

function expiryChoices(currentExpiry: Date | null | undefined): Choice[] {
  if (currentExpiry === undefined) return [never]
  if (currentExpiry === null) return [['keep', 'Never']]
  return [['keep', `Keep: ${formatDateTime(currentExpiry)}`], never]
}
