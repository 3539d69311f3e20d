import { maintenanceImpacts } from '../../enums.ts'
import type { NewMaintenance } from '../../maintenances/repository.ts'
import { AffectedFields, type AffectedChoices } from '../affected-monitors.tsx'
import type { FieldErrors } from '../form.ts'
import { Preview } from '../preview.tsx'
import { DateTimeField, Field, FieldGroup } from '../ui.tsx'
import { durationUnits, type MaintenanceForm } from './form.ts'
import { positions, repeats, weekdays, describeSchedule } from './rule.ts'
import { Span } from './ui.tsx'

type Props = {
  form: MaintenanceForm
  /** Messages by the field's name in the API. */
  errors: FieldErrors
  choices: AffectedChoices
  isNew: boolean
}

export function MaintenanceFields({ form, errors, choices, isNew }: Props) {
  return (
    <>
      <Field id="title" label="Title" error={errors.title}>
        {(ariaProps) => (
          <input
            id="title"
            name="title"
            value={form.title}
            required
            maxLength={255}
            autocomplete="off"
            autofocus={isNew && Object.keys(errors).length === 0}
            {...ariaProps}
          />
        )}
      </Field>
      <Field
        id="description"
        label="Description"
        hint="Optional: what readers notice meanwhile."
        error={errors.description}
      >
        {(ariaProps) => (
          <textarea id="description" name="description" rows={2} maxLength={10_000} {...ariaProps}>
            {form.description}
          </textarea>
        )}
      </Field>
      <AffectedFields
        choices={choices}
        allowed={maintenanceImpacts}
        hint="The impact on each affected monitor is its status during the maintenance."
        error={errors.monitors}
      />
      <ScheduleFields form={form} errors={errors} />
      {isNew ? (
        <input type="hidden" name="enabled" value="on" />
      ) : (
        <div class="field">
          <label class="choice">
            <input type="checkbox" name="enabled" checked={form.enabled !== ''} />
            <span>
              Enabled <span class="muted">Otherwise it affects no monitor and is not public.</span>
            </span>
          </label>
          {errors.enabled !== undefined && <p class="error">{errors.enabled}</p>}
        </div>
      )}
    </>
  )
}

function ScheduleFields({ form, errors }: Pick<Props, 'form' | 'errors'>) {
  return (
    <FieldGroup id="schedule" label="Schedule">
      <div class="columns">
        <DateTimeField
          id="starts-at"
          name="starts_at"
          label="Start (UTC)"
          hint="Of the first one, if it repeats."
          value={form.startsAt}
          required
          error={errors.starts_at}
        />
        <Field id="duration" label="Duration" error={errors.duration_seconds}>
          {(ariaProps) => (
            <div class="pair">
              <input
                id="duration"
                name="duration"
                inputMode="decimal"
                value={form.duration}
                required
                autocomplete="off"
                {...ariaProps}
              />
              <Select
                name="duration_unit"
                label="Unit of the duration"
                value={form.durationUnit}
                options={durationUnits}
              />
            </div>
          )}
        </Field>
      </div>
      <div class="columns">
        <Field id="repeat" label="Repeat" error={form.repeat === 'rule' ? undefined : errors.rrule}>
          {(ariaProps) => (
            <select id="repeat" name="repeat" {...ariaProps}>
              <Options options={repeats} value={form.repeat} />
            </select>
          )}
        </Field>
        <Field
          id="interval"
          label="Interval"
          hint="In days, weeks or months. 2: every second one."
          error={errors.interval}
        >
          {(ariaProps) => (
            <input
              id="interval"
              name="interval"
              inputMode="numeric"
              value={form.interval}
              autocomplete="off"
              data-shown-if="repeat=DAILY,WEEKLY,MONTHLY"
              {...ariaProps}
            />
          )}
        </Field>
        <Field id="position" label="If monthly, on the">
          {(ariaProps) => (
            <select id="position" name="position" data-shown-if="repeat=MONTHLY" {...ariaProps}>
              <Options options={positions} value={form.position} />
            </select>
          )}
        </Field>
        <Field id="weekday" label="Weekday" hint="If weekly, or monthly on the first, second, … one.">
          {(ariaProps) => (
            <select id="weekday" name="weekday" data-shown-if="repeat=WEEKLY,MONTHLY" {...ariaProps}>
              <Options options={weekdays} value={form.weekday} />
            </select>
          )}
        </Field>
      </div>
      <Field
        id="rrule"
        label="Other rule"
        hint={
          <>
            The value of an RRULE (RFC 5545), in UTC, for example{' '}
            <code>FREQ=YEARLY;BYMONTH=1,7;BYDAY=1SU</code>
          </>
        }
        error={form.repeat === 'rule' ? errors.rrule : undefined}
      >
        {(ariaProps) => (
          <input
            id="rrule"
            name="rrule"
            class="code"
            value={form.rrule}
            maxLength={255}
            autocomplete="off"
            spellcheck={false}
            data-shown-if="repeat=rule"
            {...ariaProps}
          />
        )}
      </Field>
    </FieldGroup>
  )
}

type Option = readonly [value: string, label: string]
type SelectProps = { name: string; label: string; value: string; options: readonly Option[] }

function Select({ name, label, value, options }: SelectProps) {
  return (
    <select name={name} aria-label={label}>
      <Options options={options} value={value} />
    </select>
  )
}

function Options({ options, value }: Pick<SelectProps, 'options' | 'value'>) {
  return (
    <>
      {options.map(([option, label]) => (
        <option key={option} value={option} selected={option === value}>
          {label}
        </option>
      ))}
    </>
  )
}

/** Occurrences that a preview shows. */
export const previewedCount = 5

type PreviewProps = {
  maintenance: NewMaintenance
  dates: Date[]
  choices: AffectedChoices
}

/** Shows what is public of the maintenance, and its next dates. */
export function MaintenancePreview({ maintenance, dates, choices }: PreviewProps) {
  const { title, description, monitors, duration_seconds, enabled } = maintenance
  return (
    <>
      <Preview
        {...{ title, monitors, choices }}
        resource="maintenance"
        hiddenBecause={enabled ? undefined : 'it is disabled'}
        summary={describeSchedule(maintenance)}
      >
        {description !== null && <p class="prose">{description}</p>}
      </Preview>
      <section class="card form" aria-labelledby="dates">
        <h2 id="dates">{dates.length === 1 ? 'Date' : 'Next dates'}</h2>
        {dates.length === 0 ? (
          <p class="muted">The rule has no date in the future.</p>
        ) : (
          <ol class="dates">
            {dates.map((date) => (
              <li key={date.getTime()}>
                <Span from={date} to={new Date(date.getTime() + duration_seconds * 1000)} />
              </li>
            ))}
          </ol>
        )}
      </section>
    </>
  )
}
