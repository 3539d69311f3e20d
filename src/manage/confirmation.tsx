import type { ComponentChildren } from 'preact'
import { Form } from './ui.tsx'

type Props = {
  breadcrumbs: ComponentChildren
  question: string
  /** Says what happens, or what is lost. */
  children: ComponentChildren
  /** Path of the form. */
  action: string
  fields?: ComponentChildren
  /** Label of the button. */
  button: string
  isIrreversible?: boolean
  /** The page to go back to. */
  cancel: readonly [path: string, label?: string]
}

/** Asks for confirmation of a change. */
export function ConfirmPage({
  breadcrumbs,
  question,
  children,
  action,
  fields,
  button,
  isIrreversible = false,
  cancel: [cancelPath, cancelLabel = 'Cancel'],
}: Props) {
  return (
    <>
      {breadcrumbs}
      <h1>{question}</h1>
      <section class="card form">
        {children}
        <Form action={action}>
          {fields}
          <div class="buttons">
            <button class={isIrreversible ? 'primary danger' : 'primary'}>{button}</button>
            <a class="button" href={cancelPath}>
              {cancelLabel}
            </a>
          </div>
        </Form>
      </section>
    </>
  )
}
