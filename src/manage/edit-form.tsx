import type { FastifyReply } from 'fastify'
import type { ComponentChildren } from 'preact'
import { type FieldErrors, isConflict, isValidationError } from './form.ts'
import type { ApiError } from '../errors.ts'
import { ConflictSummary, ErrorSummary, Form, HiddenFields } from './ui.tsx'

/** How the form of an existing row is shown. */
export type EditState<Fields> = {
  form: Fields
  /** The version from which the form was filled. Without it, that of the row as it is shown. */
  version?: string
  errors?: FieldErrors
  /** True if the row was changed after the form was opened. */
  isStale?: boolean
}

/**
 * Returns how to show the form of a change that was rejected, and sets the status. After a conflict, it has the version of the
 * saved row, whose values are next to the entered ones, so that saving again is a decision.
 * @throws the error if it is about something else
 */
export function rejectEdit<Fields>(
  error: unknown,
  reply: FastifyReply,
  { form, version }: { form: Fields; version: string },
  toErrors: (error: ApiError) => FieldErrors,
): EditState<Fields> {
  if (isConflict(error)) {
    reply.code(error.status)
    return { form, isStale: true }
  }
  if (!isValidationError(error)) throw error
  reply.code(error.status)
  return { form, version, errors: toErrors(error) }
}

type Props = {
  resource: string
  action: string
  /** The version that the change requires. */
  version: string
  state: Pick<EditState<unknown>, 'errors' | 'isStale'>
  fields: ComponentChildren
  /** The buttons, without the link that cancels. */
  buttons: ComponentChildren
  /** Undefined: the form is a part of the page that it would lead to. */
  cancelPath?: string | undefined
}

/** The form of an existing row. It is saved only if the row still has the version. */
export function EditForm({ resource, action, version, state, fields, buttons, cancelPath }: Props) {
  return (
    <Form action={action} class="card form">
      <HiddenFields fields={{ version }} />
      {state.isStale === true && (
        <ConflictSummary resource={resource}>
          The saved values that differ from yours are next to their fields. Save again to replace them.
        </ConflictSummary>
      )}
      <ErrorSummary errors={state.errors ?? {}} />
      {fields}
      <div class="buttons">
        {buttons}
        {cancelPath !== undefined && (
          <a class="button" href={cancelPath}>
            Cancel
          </a>
        )}
      </div>
    </Form>
  )
}
