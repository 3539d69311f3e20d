import type { ComponentChildren } from 'preact'
import { type State, states } from '../../enums.ts'
import type { Incident } from '../../incidents/repository.ts'
import { Field } from '../ui.tsx'

export const incidentsPath = '/manage/incidents'

export function incidentPath(id: number): string {
  return `${incidentsPath}/${id}`
}

/** `INVESTIGATING`: `Investigating` */
export function formatState(state: State): string {
  return state.charAt(0) + state.slice(1).toLowerCase()
}

export function IncidentState({ state }: { state: State }) {
  return <span class={`status ${state.toLowerCase()}`}>{formatState(state)}</span>
}

/** The pages above a page about the incident. */
export function trailOf({ id, title }: Pick<Incident, 'id' | 'title'>): [name: string, path: string][] {
  return [
    ['Incidents', incidentsPath],
    [title, incidentPath(id)],
  ]
}

type StateFieldProps = {
  value: string
  label: string
  hint?: string
  error: string | undefined
  /** Label of the empty choice, which keeps the state. */
  keep?: string
}

export function StateField({ value, label, hint, error, keep }: StateFieldProps) {
  return (
    <Field id="state" label={label} hint={hint} error={error}>
      {(ariaProps) => (
        <select id="state" name="state" {...ariaProps}>
          {keep !== undefined && <option value="">{keep}</option>}
          {states.map((state) => (
            <option key={state} value={state} selected={state === value}>
              {formatState(state)}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

type CommentFieldProps = {
  label: string
  hint?: ComponentChildren
  value: string
  error: string | undefined
  required?: boolean
}

export function CommentField({ label, hint, value, error, required = false }: CommentFieldProps) {
  return (
    <Field id="comment" label={label} hint={hint} error={error}>
      {(ariaProps) => (
        <textarea id="comment" name="comment" rows={3} maxLength={10_000} required={required} {...ariaProps}>
          {value}
        </textarea>
      )}
    </Field>
  )
}
