import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { createComment, listComments } from '../../incidents/comments.ts'
import { getIncident, type Incident, updateIncident } from '../../incidents/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { type EditState, rejectEdit } from '../edit-form.tsx'
import { type FieldErrors, isConflict, readPrecondition, readText } from '../form.ts'
import { PreviewButton } from '../preview.tsx'
import { readFormId, submitOnce } from '../submission.ts'
import { ErrorSummary, Form, HiddenFields } from '../ui.tsx'
import {
  type CommentForm,
  incidentFormLimitBytes,
  type NewComment,
  parseNewComment,
  readCommentForm,
  toCommentErrors,
  toCommentFields,
} from './form.ts'
import { previewedCount, sendPreview } from './preview.tsx'
import { CommentField, formatState, incidentPath, StateField, trailOf } from './ui.tsx'

/** Sends the page of an incident. */
type SendDetails = (
  request: FastifyRequest,
  reply: FastifyReply,
  id: number,
  state: Partial<EditState<CommentForm>>,
) => Promise<FastifyReply>

/** The forms of the page of an incident: an update, and the buttons that resolve and reopen it. */
export const updateRoutes =
  (sendDetails: SendDetails): FastifyPluginAsyncTypebox =>
  async (app) => {
    const config = { permission: 'write:incidents' } as const
    const schema = { params: IdParams }

    app.post(
      '/:id/comments',
      { config: { ...config, showAgain }, bodyLimit: incidentFormLimitBytes, schema },
      async function post(request, reply) {
        const { id } = request.params
        const form = readCommentForm(request.body)
        const version = readText(request.body, 'version')
        const step = readText(request.body, 'step')
        if (step === 'edit') return sendDetails(request, reply, id, { form, version })
        try {
          const comment = parseNewComment(form)
          if (step === 'preview') return await previewComment(request, reply, id, form, comment)
          // A comment that keeps the state overwrites nothing, so that other updates do not delay it.
          const expected = comment.state === undefined ? {} : readPrecondition(request.body)
          const path = await submitOnce(request, (remember) =>
            change(request, async (change) => {
              await createComment(change, id, comment, scopeOf(request), expected)
              return remember(change.trx, `${incidentPath(id)}?notice=posted`)
            }),
          )
          return await reply.redirect(path, 303)
        } catch (error) {
          return sendDetails(request, reply, id, rejectEdit(error, reply, { form, version }, toCommentErrors))
        }
      },
    )

    for (const [action, state] of [
      ['resolve', 'RESOLVED'],
      ['reopen', 'INVESTIGATING'],
    ] as const) {
      app.post(`/:id/${action}`, { config, schema }, async function setState(request, reply) {
        const { id } = request.params
        try {
          const expected = readPrecondition(request.body)
          await change(request, (change) => updateIncident(change, id, { state }, scopeOf(request), expected))
        } catch (error) {
          if (!isConflict(error)) throw error
          return sendDetails(request, reply.code(error.status), id, { isStale: true })
        }
        const notice = state === 'RESOLVED' ? 'resolved' : 'reopened'
        return reply.redirect(`${incidentPath(id)}?notice=${notice}`, 303)
      })
    }

    async function previewComment(
      request: FastifyRequest,
      reply: FastifyReply,
      id: number,
      form: CommentForm,
      { comment, state: entered }: NewComment,
    ) {
      const scope = scopeOf(request)
      const incident = await getIncident(app.db, id, scope)
      const earlier = await listComments(app.db, id, scope, { limit: previewedCount })
      const state = entered ?? incident.state
      return sendPreview(request, reply, {
        incident: { ...incident, state },
        comments: [{ comment, state, commented_at: request.session.now ?? new Date() }, ...earlier],
        trail: trailOf(incident).slice(1),
        action: `${incidentPath(id)}/comments`,
        fields: {
          ...toCommentFields(form),
          version: readText(request.body, 'version'),
          form_id: readFormId(request.body),
        },
        submit: ['post', 'Post update'],
      })
    }

    function showAgain(request: FastifyRequest<{ Params: { id: number } }>, reply: FastifyReply) {
      const form = readCommentForm(request.body)
      const version = readText(request.body, 'version')
      return sendDetails(request, reply, request.params.id, { form, version })
    }
  }

type UpdateFormProps = {
  incident: Incident
  form: CommentForm
  version: string
  formId: string
  errors: FieldErrors
}

export function UpdateForm({ incident: { id, state }, form, version, formId, errors }: UpdateFormProps) {
  return (
    <section aria-labelledby="post">
      <h2 id="post">Post an update</h2>
      <Form action={`${incidentPath(id)}/comments`} class="card form">
        <HiddenFields fields={{ version, form_id: formId }} />
        <ErrorSummary errors={errors} />
        <CommentField label="Text" value={form.comment} error={errors.comment} required />
        <StateField
          label="State"
          value={form.state}
          error={errors.state}
          keep={`No change: ${formatState(state)}`}
        />
        <div class="buttons">
          <button class="primary" name="step" value="post">
            Post update
          </button>
          <PreviewButton />
        </div>
      </Form>
    </section>
  )
}
