import { maintenanceImpacts } from '../../enums.ts'
import type { NewMaintenance } from '../../maintenances/repository.ts'
import { AffectedFields, type AffectedChoices } from '../affected-monitors.tsx'
import type { FieldErrors } from '../form.ts'
import { Preview } from '../preview.tsx'
import {
  Checkbox,
  DateTimeField,
  Field,
  FieldGroup,
  Options,
  SelectField,
  TextAreaField,
  TextField,
} from '../fields.tsx'
import { durationUnits, type MaintenanceForm } from './form.ts'
import { describeSchedule, positions, repeats, skipsShortMonths, weekdays } from './rule.ts'
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
      <TextField
        id="title"
        label="Title"
        value={form.title}
        required
        maxLength={255}
        autofocus={isNew && Object.keys(errors).length === 0}
        error={errors.title}
      />
      <TextAreaField
        id="description"
        label="Description"
        hint="Optional: what readers notice meanwhile."
        value={form.description}
        rows={2}
        maxLength={10_000}
        error={errors.description}
      />
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
        <Checkbox name="enabled" isChecked={form.enabled !== ''} error={errors.enabled}>
          <strong>Enabled</strong>: otherwise it affects no monitor and is not public.
        </Checkbox>
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
              <select name="duration_unit" aria-label="Unit of the duration">
                <Options choices={durationUnits} value={form.durationUnit} />
              </select>
            </div>
          )}
        </Field>
      </div>
      <div class="columns">
        <SelectField
          id="repeat"
          label="Repeat"
          choices={repeats}
          value={form.repeat}
          error={form.repeat === 'rule' ? undefined : errors.rrule}
        />
        <TextField
          id="interval"
          label="Interval"
          hint="In days, weeks or months. 2: every second one."
          inputMode="numeric"
          value={form.interval}
          data-shown-if="repeat=DAILY,WEEKLY,MONTHLY"
          error={errors.interval}
        />
        <SelectField
          id="position"
          label="If monthly, on the"
          choices={positions}
          value={form.position}
          data-shown-if="repeat=MONTHLY"
        />
        <SelectField
          id="weekday"
          label="Weekday"
          hint="If weekly, or monthly on the first, second, … one."
          choices={weekdays}
          value={form.weekday}
          data-shown-if="repeat=WEEKLY,MONTHLY"
        />
      </div>
      <TextField
        id="rrule"
        label="Other rule"
        hint={
          <>
            The value of an RRULE (RFC 5545), in UTC, for example{' '}
            <code>FREQ=YEARLY;BYMONTH=1,7;BYDAY=1SU</code>
          </>
        }
        class="code"
        value={form.rrule}
        maxLength={255}
        spellcheck={false}
        data-shown-if="repeat=rule"
        error={form.repeat === 'rule' ? errors.rrule : undefined}
      />
    </FieldGroup>
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
        {skipsShortMonths(maintenance) && <p class="muted">Months without this day are skipped.</p>}
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
