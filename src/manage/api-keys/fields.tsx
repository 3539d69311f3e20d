import type { FastifyRequest } from 'fastify'
import { clientAddress } from '../../http/client-address.ts'
import type { ExpiryLimits } from '../../keys/expiry.ts'
import { type Permission, permissionDescriptions, permissions } from '../../permissions.ts'
import type { FieldErrors } from '../form.ts'
import { formatNumber } from '../format.ts'
import { FieldGroup, TextAreaField, TextField } from '../fields.tsx'
import { ExpiryFields, toExpiryLimits } from './expiry.tsx'
import type { KeyForm } from './form.ts'

/** Hints and choices depend on these. */
export type FormSettings = {
  rateLimitMax: number
  /** Address of the client that shows the form. */
  address: string
  limits: ExpiryLimits
}

export function toFormSettings(request: FastifyRequest): FormSettings {
  return {
    rateLimitMax: request.server.config.rateLimitMax,
    address: clientAddress(request),
    limits: toExpiryLimits(request),
  }
}

type Props = {
  form: KeyForm
  errors: FieldErrors
  settings: FormSettings
  /** Current expiry of an existing key; undefined for a new key. */
  currentExpiry?: Date | null
}

export function KeyFields({ form, errors, settings, currentExpiry }: Props) {
  return (
    <>
      <TextField
        id="name"
        label="Name"
        hint="The client that uses the key, for example: monitoring-service"
        value={form.name}
        required
        maxLength={100}
        error={errors.name}
      />
      <TextAreaField
        id="description"
        label="Description"
        hint="Optional: what the key is for, where it is stored, and which team to ask before it is revoked."
        value={form.description}
        rows={2}
        maxLength={1_000}
        error={errors.description}
      />
      <PermissionFields selected={form.permissions} error={errors.permissions} />
      <FieldGroup
        id="limits"
        label="Limits"
        hint="All optional. Each limits what a copied key, or a faulty client, can do."
      >
        <div class="columns">
          <ScopeFields form={form} errors={errors} address={settings.address} />
        </div>
        <div class="columns">
          <ExpiryFields
            label="Expiry"
            form={form}
            error={errors.expires_at}
            limits={settings.limits}
            current={currentExpiry}
          />
          <TextField
            id="rate-limit"
            name="rate_limit"
            label="Requests per minute"
            hint={`Leave empty for the default of ${formatNumber(settings.rateLimitMax)}.`}
            inputMode="numeric"
            value={form.rateLimit}
            error={errors.rate_limit}
          />
        </div>
      </FieldGroup>
    </>
  )
}

/** Separates `admin`, because it includes the permissions that exist only as a part of it, such as creating keys. */
function PermissionFields({ selected, error }: { selected: string[]; error: string | undefined }) {
  return (
    <FieldGroup
      id="permissions"
      label="Permissions"
      hint="Select only what the client needs. No permission includes another."
      error={error}
    >
      <div class="choices">
        {permissions
          .filter((permission) => permission !== 'admin')
          .map((permission) => (
            <PermissionChoice key={permission} permission={permission} selected={selected} />
          ))}
      </div>
      <div class="apart">
        <PermissionChoice permission="admin" selected={selected} descriptionId="admin-warning" />
        <p id="admin-warning">
          <strong>This key controls the whole service:</strong> it can read and delete everything, and create
          and revoke keys. It cannot be limited to monitors.
        </p>
      </div>
    </FieldGroup>
  )
}

type ChoiceProps = { permission: Permission; selected: string[]; descriptionId?: string }

function PermissionChoice({ permission, selected, descriptionId }: ChoiceProps) {
  return (
    <label class="choice">
      <input
        type="checkbox"
        name="permissions"
        value={permission}
        checked={selected.includes(permission)}
        aria-describedby={descriptionId}
      />
      <span class="permission">
        <code>{permission}</code> <span class="muted">{permissionDescriptions[permission]}</span>
      </span>
    </label>
  )
}

type ScopeProps = Pick<Props, 'form' | 'errors'> & Pick<FormSettings, 'address'>

function ScopeFields({ form, errors, address }: ScopeProps) {
  const list = { class: 'code', rows: 2, spellcheck: false, autocapitalize: 'none' } as const
  return (
    <>
      <TextAreaField
        id="monitors"
        label="Limit to monitors"
        hint={
          <>
            Tags, or starts of tags followed by <code>*</code>, one per line. The key cannot see or change
            other monitors. Leave empty for all.
          </>
        }
        placeholder={'website\npayments-*'}
        value={form.monitors}
        error={errors.monitors}
        {...list}
      />
      <TextAreaField
        id="allowed-ips"
        name="allowed_ips"
        label="Limit to addresses"
        hint={
          <>
            IPv4 or IPv6 addresses or CIDRs, one per line. A copy is useless elsewhere. Leave empty for any.
            Your own address is <code>{address}</code>.
          </>
        }
        placeholder={'203.0.113.7\n2001:db8::/32'}
        value={form.allowedIps}
        error={errors.allowed_ips}
        {...list}
      />
    </>
  )
}
