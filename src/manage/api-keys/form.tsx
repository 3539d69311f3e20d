import { invalidRequest } from '../errors.ts'
import type { ApiKey, KeyChanges } from '../keys/repository.ts'
import { type Permission, permissionDescriptions, permissions } from '../permissions.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { CreateKey } from '../wire/keys.ts'
import { parseTime } from '../wire/time.ts'
import { findErrors } from '../wire/validator.ts'
import { Field, FieldGroup, readText, readTexts } from './form.tsx'
import { formatDateTime, formatNumber } from './format.ts'

/** The form as it was typed, which a refused one is shown with again. */
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

const presets: [value: string, label: string][] = [
  ['never', 'Never'],
  ['7', 'In 7 days'],
  ['30', 'In 30 days'],
  ['90', 'In 90 days'],
  ['365', 'In a year'],
  ['date', 'On a date'],
]

export function readKeyForm(body: unknown): KeyForm {
  return {
    name: readText(body, 'name').trim(),
    permissions: readTexts(body, 'permissions'),
    expiry: readText(body, 'expiry') || 'never',
    expiryDate: readText(body, 'expiry_date').trim(),
    rateLimit: readText(body, 'rate_limit').trim(),
  }
}

/** The key as its form shows it; an expiry stays as it is, to the second, unless another is chosen. */
export function fillKeyForm(key: ApiKey): KeyForm {
  return {
    name: key.name,
    permissions: key.permissions,
    expiry: key.expires_at ? 'keep' : 'never',
    expiryDate: '',
    rateLimit: key.rate_limit === null ? '' : String(key.rate_limit),
  }
}

/**
 * What the form asks for, by the same schema as POST /api/keys.
 * @param now by the database's clock.
 * @param currentExpiry the expiry that "Keep" stands for.
 * @throws ApiError 400, whose details name the fields as the API does.
 */
export function parseKeyForm(
  form: KeyForm,
  now: Date,
  currentExpiry: Date | null = null,
): Required<KeyChanges> {
  const values = {
    name: form.name,
    permissions: form.permissions,
    rate_limit:
      form.rateLimit === '' ? null : /^\d{1,15}$/.test(form.rateLimit) ? Number(form.rateLimit) : NaN,
  }
  const errors = findErrors(CreateKey, values)
  if (errors.length > 0) throw fromAjvErrors(errors)
  return {
    name: values.name,
    permissions: form.permissions as Permission[],
    rate_limit: values.rate_limit,
    expires_at: parseExpiry(form, now, currentExpiry),
  }
}

function parseExpiry({ expiry, expiryDate }: KeyForm, now: Date, currentExpiry: Date | null): Date | null {
  // Without JavaScript the date can be filled in beside "Never": the shorter life is the safer reading.
  if (expiry === 'date' || (expiry === 'never' && expiryDate !== '')) return parseDate(expiryDate, now)
  if (expiryDate !== '') throw invalidExpiry('Choose "On a date" to use this date, or empty it')
  if (expiry === 'never') return null
  if (expiry === 'keep' && currentExpiry) return currentExpiry
  if (!presets.some(([value]) => value === expiry)) throw invalidExpiry('Choose one from the list')
  return new Date(now.getTime() + Number(expiry) * 86_400_000)
}

/** The last second of that day. */
function parseDate(date: string, now: Date): Date {
  const time = parseTime(`${date}T23:59:59Z`)
  if (!time) throw invalidExpiry('Enter a date, such as 2027-12-31')
  // By the API, a date in the past ends a key; here it is a slip, and Revoke is at hand.
  if (time <= now) throw invalidExpiry('This date must be in the future')
  return time
}

const invalidExpiry = (message: string) => invalidRequest(message, [{ path: '/expires_at', message }])

/** In the words of the form, for what the API says in its own. */
const fieldMessages: Record<string, string> = {
  name: 'Give the key a name of 1 to 100 characters',
  permissions: 'Choose at least one of these permissions',
  rate_limit: 'Enter a whole number from 1 to 1,000,000,000, or nothing for the default',
}

type Props = {
  form: KeyForm
  errors: Record<string, string>
  rateLimitMax: number
  /** The expiry that the key has already. */
  currentExpiry?: Date | null
}

export function KeyFields({ form, errors, rateLimitMax, currentExpiry = null }: Props) {
  const messageFor = (name: string) => errors[name] && (fieldMessages[name] ?? errors[name])
  const choices: [value: string, label: string][] = currentExpiry
    ? [['keep', `Keep: ${formatDateTime(currentExpiry)}`], ...presets]
    : presets
  return (
    <>
      <Field
        id="name"
        label="Name"
        hint="Who uses it, and for what: monitoring-service, ci"
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
        hint="Grant only what it needs. None implies another, but for admin."
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
        <Field id="expiry-date" label="On this date" hint="To its end, UTC">
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
        label="Requests a minute"
        hint={`Empty for the default, ${formatNumber(rateLimitMax)}`}
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
