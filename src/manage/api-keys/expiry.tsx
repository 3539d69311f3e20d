import type { FastifyRequest } from 'fastify'
import { useContext } from 'preact/hooks'
import { invalidRequest } from '../../errors.ts'
import { requirePrincipal } from '../../http/auth.ts'
import type { ExpiryLimits } from '../../keys/expiry.ts'
import { parseTime } from '../../wire/time.ts'
import { formatDateTime } from '../../wire/time-text.ts'
import { readText } from '../form.ts'
import { formatNumber } from '../format.ts'
import { SelectField, TextField } from '../fields.tsx'
import { Now } from '../ui.tsx'

/** The choice and the date as entered. */
export type ExpiryForm = { expiry: string; expiryDate: string }

type Choice = [value: string, label: string]

const never: Choice = ['never', 'Never']

const presets: [days: number, label: string][] = [
  [7, 'In 7 days'],
  [30, 'In 30 days'],
  [90, 'In 90 days'],
  [365, 'In 1 year'],
]

const dayMs = 86_400_000

/** @param fallback the choice of a form that was sent without this field */
export function readExpiry(body: unknown, fallback: string): ExpiryForm {
  return {
    expiry: readText(body, 'expiry') || fallback,
    expiryDate: readText(body, 'expiry_date').trim(),
  }
}

export function isExpiryKept({ expiry, expiryDate }: ExpiryForm): boolean {
  return expiry === 'keep' && expiryDate === ''
}

/** Returns null for a key that never expires. @throws ApiError 400 */
export function parseExpiry(
  { expiry, expiryDate }: ExpiryForm,
  limits: ExpiryLimits,
  now: Date,
): Date | null {
  // Without JavaScript the date field is visible with every choice. The default choice with a date means the date,
  // because a shorter lifetime is the safer interpretation.
  const isDefault = expiry === never[0] || expiry === 'latest'
  if (expiry === 'date' || (isDefault && expiryDate !== '')) return parseDate(expiryDate, now)
  if (expiryDate !== '') throw invalidExpiry('Choose "On a date" to use this date, or clear it')
  if (expiry === never[0]) return null
  if (expiry === 'latest') return latestExpiry(limits, now)
  const preset = presets.find(([days]) => String(days) === expiry)
  if (!preset) throw invalidExpiry('Choose an expiry from the list')
  return new Date(now.getTime() + preset[0] * dayMs)
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

export function toExpiryLimits(request: FastifyRequest): ExpiryLimits {
  return {
    callerExpiresAt: requirePrincipal(request).expires_at,
    lifetimeMaxDays: request.server.config.keyLifetimeMaxDays,
  }
}

/** Returns the latest expiry that the form offers. The API compares again. Null: no limit. */
function latestExpiry({ callerExpiresAt, lifetimeMaxDays }: ExpiryLimits, now: Date): Date | null {
  if (lifetimeMaxDays === null) return callerExpiresAt
  const end = new Date(Math.floor(now.getTime() / 1000) * 1000 + lifetimeMaxDays * dayMs)
  return callerExpiresAt !== null && callerExpiresAt < end ? callerExpiresAt : end
}

type Props = {
  label: string
  form: ExpiryForm
  error: string | undefined
  limits: ExpiryLimits
  /** Current expiry, which can be kept; undefined for a new key. */
  current?: Date | null | undefined
  /** For a successor: the current expiry of its predecessor can only be kept if it is within the limits. */
  isSuccessor?: boolean
}

export function ExpiryFields({ label, form, error, limits, current, isSuccessor = false }: Props) {
  const now = useContext(Now)
  const latest = latestExpiry(limits, now)
  const isLate = latest !== null && (!current || current > latest)
  const choices = expiryChoices(isSuccessor && isLate ? undefined : current, latest, now)
  return (
    <>
      <SelectField
        id="expiry"
        label={label}
        hint={expiryHint(limits, latest)}
        choices={choices}
        value={form.expiry}
        error={error}
      />
      <TextField
        id="expiry-date"
        name="expiry_date"
        label="Date"
        hint="The key expires at the end of this day (UTC)."
        type="date"
        value={form.expiryDate}
        data-shown-with="expiry=date"
      />
    </>
  )
}

function expiryChoices(current: Date | null | undefined, latest: Date | null, now: Date): Choice[] {
  const allowed = presets.filter(
    ([days]) => latest === null || now.getTime() + days * dayMs <= latest.getTime(),
  )
  return [
    ...(current === undefined ? [] : [keep(current)]),
    ...(latest !== null ? [toLatest(latest)] : current === null ? [] : [never]),
    ...allowed.map(([days, label]): Choice => [String(days), label]),
    ['date', 'On a date'],
  ]
}

function keep(current: Date | null): Choice {
  return ['keep', current === null ? 'Never' : `Keep: ${formatDateTime(current)}`]
}

function toLatest(latest: Date): Choice {
  return ['latest', `Latest: ${formatDateTime(latest)}`]
}

function expiryHint(
  { callerExpiresAt, lifetimeMaxDays }: ExpiryLimits,
  latest: Date | null,
): string | undefined {
  if (latest === null) return 'Copies of an expired key are useless.'
  if (lifetimeMaxDays === null || latest === callerExpiresAt)
    return 'A key cannot expire later than the key that you are logged in with.'
  return `A key may be valid for at most ${formatNumber(lifetimeMaxDays)} days.`
}
