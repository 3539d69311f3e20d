import { statuses } from '../../enums.ts'
import { Checkbox, FieldGroup, SelectField, TextAreaField, TextField } from '../fields.tsx'
import type { FieldErrors } from '../form.ts'
import type { MonitorForm } from './form.ts'
import { formatStatus } from './ui.tsx'

type Props = { form: MonitorForm; errors: FieldErrors }

/** Fields of all attributes that can be changed. */
export function MonitorFields({ form, errors }: Props) {
  return (
    <>
      <TextField id="name" label="Name" value={form.name} maxLength={255} error={errors.name} required />
      <TextAreaField
        id="description"
        label="Description"
        hint="Optional. Shown on the public page."
        value={form.description}
        rows={2}
        maxLength={10_000}
        error={errors.description}
      />
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
          <SelectField
            id="default_status"
            label="Status without a valid report"
            hint="Down, if a missing report means a failure."
            choices={statuses.map((status) => [status, formatStatus(status)])}
            value={form.defaultStatus}
            error={errors.default_status}
          />
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
