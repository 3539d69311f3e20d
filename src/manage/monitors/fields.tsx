import type { ComponentChildren } from 'preact'
import { statuses } from '../../enums.ts'
import type { FieldErrors } from '../form.ts'
import { Field, FieldGroup } from '../ui.tsx'
import type { MonitorForm } from './form.ts'
import { formatStatus } from './ui.tsx'

type Props = { form: MonitorForm; errors: FieldErrors }

/** Fields of all attributes that can be changed. */
export function MonitorFields({ form, errors }: Props) {
  return (
    <>
      <TextField id="name" label="Name" value={form.name} maxLength={255} error={errors.name} required />
      <Field
        id="description"
        label="Description"
        hint="Optional. Shown on the public page."
        error={errors.description}
      >
        {(ariaProps) => (
          <textarea id="description" name="description" rows={2} maxLength={10_000} {...ariaProps}>
            {form.description}
          </textarea>
        )}
      </Field>
      <div class="columns">
        <TextField
          id="category_name"
          label="Category"
          hint="Optional. Monitors of a category are shown together."
          value={form.categoryName}
          maxLength={255}
          error={errors.category_name}
        />
        <TextField
          id="external_url"
          label="Link"
          hint="Optional. The address of the service: https://…"
          inputMode="url"
          value={form.externalUrl}
          maxLength={2_048}
          error={errors.external_url}
        />
      </div>
      <FieldGroup id="reports" label="Reports">
        <div class="columns">
          <TextField
            id="stale_after_seconds"
            label="A report is valid for (seconds)"
            hint="Then the status without a report applies. For example 300, if the status is reported every minute. Empty: until the next report."
            inputMode="numeric"
            value={form.staleAfter}
            error={errors.stale_after_seconds}
          />
          <Field
            id="default_status"
            label="Status without a valid report"
            hint="Down, if a missing report means a failure."
            error={errors.default_status}
          >
            {(ariaProps) => (
              <select id="default_status" name="default_status" {...ariaProps}>
                {statuses.map((status) => (
                  <option key={status} value={status} selected={status === form.defaultStatus}>
                    {formatStatus(status)}
                  </option>
                ))}
              </select>
            )}
          </Field>
        </div>
        <Checkbox
          name="degraded_counts_as_down"
          isChecked={form.degradedCountsAsDown}
          error={errors.degraded_counts_as_down}
        >
          Degraded minutes lower the uptime
        </Checkbox>
      </FieldGroup>
      <FieldGroup id="visibility" label="Public page">
        <Checkbox name="enabled" isChecked={form.enabled} error={errors.enabled}>
          <strong>Enabled</strong>: the monitor is in use. A disabled one is not shown, and still accepts
          reports.
        </Checkbox>
        <Checkbox name="hidden" isChecked={form.hidden} error={errors.hidden}>
          <strong>Hidden</strong>: not shown on the public page, nor is an incident that affects only this
          monitor.
        </Checkbox>
      </FieldGroup>
    </>
  )
}

type TextFieldProps = {
  /** Also the name. */
  id: string
  label: string
  hint?: string
  value: string
  error: string | undefined
  inputMode?: 'numeric' | 'url'
  maxLength?: number
  required?: boolean
}

export function TextField({ id, label, hint, value, error, ...rest }: TextFieldProps) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      {(ariaProps) => <input id={id} name={id} value={value} autocomplete="off" {...rest} {...ariaProps} />}
    </Field>
  )
}

type CheckboxProps = {
  name: string
  isChecked: boolean
  error: string | undefined
  children: ComponentChildren
}

function Checkbox({ name, isChecked, error, children }: CheckboxProps) {
  return (
    <div>
      <label class="choice">
        <input
          type="checkbox"
          name={name}
          value="yes"
          checked={isChecked}
          aria-describedby={error === undefined ? undefined : `${name}-error`}
        />
        <span>{children}</span>
      </label>
      {error !== undefined && (
        <p class="error" id={`${name}-error`}>
          {error}
        </p>
      )}
    </div>
  )
}
