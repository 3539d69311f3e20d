import type { ComponentChildren } from 'preact'
import type { MaintenanceImpact } from '../enums.ts'
import { type AffectedChoices, ImpactMark } from './affected-monitors.tsx'
import { Form, HiddenFields } from './ui.tsx'

type Props = {
  resource: 'incident' | 'maintenance'
  title: string
  monitors: readonly { monitor_tag: string; impact?: MaintenanceImpact }[]
  choices: AffectedChoices
  /** Why the public does not see it, apart from its monitors. */
  hiddenBecause?: string | undefined
  /** The line below the title. */
  summary: ComponentChildren
  children: ComponentChildren
}

/** Shows what the public page shows of an incident or a maintenance. */
export function Preview({ resource, title, monitors, choices, hiddenBecause, summary, children }: Props) {
  const publicNames = new Map(
    choices.listed.filter(({ enabled, hidden }) => enabled && !hidden).map(({ tag, name }) => [tag, name]),
  )
  const shown = monitors.filter(({ monitor_tag: tag }) => publicNames.has(tag))
  const areHidden = monitors.length > 0 && shown.length === 0
  const reason =
    hiddenBecause ?? (areHidden ? 'it affects only monitors that are hidden or disabled' : undefined)
  return (
    <>
      {reason === undefined ? (
        <p class="muted">
          This is what the public reads.
          {shown.length < monitors.length && ' Monitors that are hidden or disabled are not shown.'}
        </p>
      ) : (
        <p class="warning">
          The public cannot see this {resource}, because {reason}.
        </p>
      )}
      <article class="card form" aria-label={`Preview of the ${resource}`}>
        <h2>{title}</h2>
        <p>{summary}</p>
        {shown.length > 0 && (
          <ul class="affected">
            {shown.map(({ monitor_tag: tag, impact = 'MAINTENANCE' }) => (
              <li key={tag}>
                {publicNames.get(tag)} <ImpactMark impact={impact} />
              </li>
            ))}
          </ul>
        )}
        {children}
      </article>
    </>
  )
}

type FormProps = {
  action: string
  /** The entered values, so that exactly what the preview shows is saved. */
  fields: Record<string, string>
  submit: readonly [step: string, label: string]
}

export function PreviewForm({ action, fields, submit: [step, label] }: FormProps) {
  return (
    <Form action={action}>
      <HiddenFields fields={fields} />
      <div class="buttons">
        <button class="primary" name="step" value={step}>
          {label}
        </button>
        <button name="step" value="edit">
          Back to the form
        </button>
      </div>
    </Form>
  )
}

/** The button of a form that shows its preview. */
export function PreviewButton({ isPrimary = false }: { isPrimary?: boolean }) {
  return (
    <button class={isPrimary ? 'primary' : undefined} name="step" value="preview">
      Preview
    </button>
  )
}

/** The buttons of a form that can be saved without its preview. */
export function SaveOrPreview() {
  return (
    <>
      <button class="primary" name="step" value="save">
        Save
      </button>
      <PreviewButton />
    </>
  )
}
