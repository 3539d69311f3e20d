import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { State } from '../../enums.ts'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import {
  type Comment,
  type CommentChanges,
  deleteComment,
  getComment,
  listComments,
  updateComment,
} from '../../incidents/comments.ts'
import { getIncident, type Incident } from '../../incidents/repository.ts'
import { Id } from '../../wire/ids.ts'
import {
  describeDateTimeField,
  readPrecondition,
  readText,
  toDateTimeField,
  toSavedValues,
  type FieldErrors,
} from '../form.ts'
import { registerDeletion } from '../deletion.tsx'
import { EditForm, type EditState, rejectEdit } from '../edit-form.tsx'
import { sendPage } from '../page.tsx'
import { SaveOrPreview } from '../preview.tsx'
import { DateTimeField } from '../fields.tsx'
import { Breadcrumbs, TimeAgo } from '../ui.tsx'
import {
  type CommentForm,
  incidentFormLimitBytes,
  parseCommentChanges,
  readCommentForm,
  toCommentErrors,
  toCommentFields,
} from './form.ts'
import { previewedCount, sendPreview } from './preview.tsx'
import { CommentField, formatState, incidentPath, IncidentState, StateField, trailOf } from './ui.tsx'

const Params = Type.Object({ id: Id, comment_id: Id })

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:incidents' } as const
  const schema = { params: Params }

  app.get('/:id/comments/:comment_id', { config, schema }, async function showForm(request, reply) {
    const stored = await read(request, request.params)
    return sendForm(request, reply, stored, { form: fillForm(stored.comment) })
  })

  app.post(
    '/:id/comments/:comment_id',
    { config: { ...config, showAgain }, schema, bodyLimit: incidentFormLimitBytes },
    async function save(request, reply) {
      const { params } = request
      const form = readCommentForm(request.body)
      const version = readText(request.body, 'version')
      const step = readText(request.body, 'step')
      const stored = await read(request, params)
      if (step === 'edit') return sendForm(request, reply, stored, { form, version })
      try {
        const changes = parseCommentChanges(form, stored.comment)
        if (step === 'preview') return await previewComment(request, reply, stored, form, changes)
        const expected = readPrecondition(request.body)
        await change(request, (change) =>
          updateComment(change, params.id, params.comment_id, changes, scopeOf(request), { expected }),
        )
      } catch (error) {
        const state = rejectEdit(error, reply, { form, version }, toCommentErrors)
        return sendForm(request, reply, await read(request, params), state)
      }
      return reply.redirect(`${incidentPath(params.id)}?notice=saved`, 303)
    },
  )

  registerDeletion(app, {
    path: '/:id/comments/:comment_id/delete',
    config,
    params: Params,
    read: (params: Static<typeof Params>, request) => read(request, params),
    remove: (change, { id, comment_id }, expected, request) =>
      deleteComment(change, id, comment_id, scopeOf(request), expected),
    describe: ({ incident, comment }) => ({
      section: 'incidents',
      resource: 'incident',
      question: 'Delete this update?',
      trail: trailOf(incident),
      path: commentPath(incident, comment),
      version: incident.version,
      children: <DeletedComment incident={incident} comment={comment} />,
    }),
    nextPath: ({ id }) => `${incidentPath(id)}?notice=comment-deleted`,
  })

  async function showAgain(
    request: FastifyRequest<{ Params: { id: number; comment_id: number } }>,
    reply: FastifyReply,
  ) {
    const form = readCommentForm(request.body)
    const version = readText(request.body, 'version')
    return sendForm(request, reply, await read(request, request.params), { form, version })
  }

  /** Reads the incident first: a change meanwhile leaves a version that is too old, which is a conflict. */
  async function read(request: FastifyRequest, { id, comment_id }: { id: number; comment_id: number }) {
    const scope = scopeOf(request)
    const incident = await getIncident(app.db, id, scope)
    return { incident, comment: await getComment(app.db, id, comment_id, scope) }
  }
}

export default routes

function commentPath({ id }: Incident, comment: Comment): string {
  return `${incidentPath(id)}/comments/${comment.id}`
}

/** The state of the newest update is also that of the incident, if the form changes it. */
async function previewComment(
  request: FastifyRequest,
  reply: FastifyReply,
  { incident, comment }: Stored,
  form: CommentForm,
  { comment: text = comment.comment, state, commented_at = comment.commented_at }: CommentChanges,
) {
  const limit = previewedCount + 1
  const stored = await listComments(request.server.db, incident.id, scopeOf(request), { limit })
  const edited = { comment: text, state: state ?? comment.state, commented_at }
  const comments = [...stored.filter(({ id }) => id !== comment.id), edited].sort(
    (a, b) => b.commented_at.getTime() - a.commented_at.getTime(),
  )
  const isNewest = comments[0] === edited
  const action = commentPath(incident, comment)
  return sendPreview(request, reply, {
    incident: { ...incident, state: (isNewest && state) || incident.state },
    comments,
    trail: [...trailOf(incident).slice(1), ['Edit update', action]],
    action,
    fields: { ...toCommentFields(form), version: readText(request.body, 'version') },
    submit: ['save', 'Save'],
  })
}

type Stored = { incident: Incident; comment: Comment }

function fillForm({ comment, state, commented_at }: Comment): CommentForm {
  return { comment, state, commentedAt: toDateTimeField(commented_at) }
}

function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  { incident, comment }: Stored,
  state: EditState<CommentForm>,
) {
  const { form, version = incident.version, errors = {}, isStale } = state
  const messages = isStale ? compare(form, fillForm(comment)) : errors
  return sendPage(
    request,
    reply,
    { title: `Edit an update of ${incident.title}`, section: 'incidents' },
    <>
      <Breadcrumbs trail={trailOf(incident)} current="Edit update" />
      <h1>Edit update</h1>
      <EditForm
        resource="incident"
        action={commentPath(incident, comment)}
        version={version}
        state={state}
        fields={<Fields form={form} messages={messages} />}
        buttons={<SaveOrPreview />}
        cancelPath={incidentPath(incident.id)}
      />
    </>,
  )
}

function Fields({ form, messages }: { form: CommentForm; messages: FieldErrors }) {
  return (
    <>
      <CommentField label="Text" value={form.comment} error={messages.comment} required />
      <div class="columns">
        <StateField
          label="State"
          hint="If this is the newest update, also the state of the incident."
          value={form.state}
          error={messages.state}
        />
        <DateTimeField
          id="commented-at"
          name="commented_at"
          label="Time (UTC)"
          value={form.commentedAt}
          required
          error={messages.commented_at}
        />
      </div>
    </>
  )
}

function compare(entered: CommentForm, saved: CommentForm): FieldErrors {
  const toValues = ({ comment, state, commentedAt }: CommentForm) => ({
    comment,
    state: state === '' ? '' : formatState(state as State),
    commented_at: describeDateTimeField(commentedAt),
  })
  return toSavedValues(toValues(entered), toValues(saved))
}

function DeletedComment({ incident, comment }: Stored) {
  return (
    <>
      <p>
        The text is lost and disappears from the status page. The incident stays{' '}
        {formatState(incident.state).toLowerCase()}.
      </p>
      <blockquote>
        <p>
          <IncidentState state={comment.state} />{' '}
          <span class="muted">
            <TimeAgo time={comment.commented_at} />
          </span>
        </p>
        <p class="prose">{comment.comment}</p>
      </blockquote>
    </>
  )
}
