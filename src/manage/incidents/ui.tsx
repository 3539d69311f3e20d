import type { ComponentChildren } from 'preact'
import { type State, states } from '../../enums.ts'
import type { Incident } from '../../incidents/repository.ts'
import { SelectField, TextAreaField } from '../fields.tsx'

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

export function StateField({ keep, ...field }: StateFieldProps) {
  const choices = states.map((state): [string, string] => [state, formatState(state)])
  return (
    <SelectField id="state" choices={keep === undefined ? choices : [['', keep], ...choices]} {...field} />
  )
}

type CommentFieldProps = {
  label: string
  hint?: ComponentChildren
  value: string
  error: string | undefined
  required?: boolean
}

export function CommentField(field: CommentFieldProps) {
  return <TextAreaField id="comment" rows={3} maxLength={10_000} {...field} />
}
