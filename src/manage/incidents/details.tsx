import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { type Comment, createComment, listComments } from '../../incidents/comments.ts'
import { isIncidentPublic } from '../../incidents/public-incidents.ts'
import { getIncident, type Incident, updateIncident } from '../../incidents/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { AffectedList } from '../affected-monitors.tsx'
import { auditPathOf } from '../audit-events.tsx'
import { type FieldErrors, isConflict, isValidationError, readPrecondition, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { PreviewButton } from '../preview.tsx'
import { readFormId, sentBefore, submitOnce } from '../submission.ts'
import {
  Breadcrumbs,
  ConflictSummary,
  ErrorSummary,
  Fact,
  Form,
  IfAllowed,
  PublicLink,
  TimeAgo,
} from '../ui.tsx'
import {
  type CommentForm,
  emptyCommentForm,
  incidentFormLimitBytes,
  type NewComment,
  parseNewComment,
  readCommentForm,
  toCommentErrors,
  toCommentFields,
} from './form.ts'
import { previewedCount, sendPreview } from './preview.tsx'
import {
  CommentField,
  formatState,
  incidentPath,
  IncidentState,
  incidentsPath,
  StateField,
  trailOf,
} from './ui.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['opened', 'Incident opened. It is public now, unless all of its monitors are hidden or disabled.'],
  ['posted', 'Update posted.'],
  ['saved', 'Changes saved.'],
  ['resolved', 'Incident resolved.'],
  ['reopened', 'Incident reopened.'],
  ['comment-deleted', 'Update deleted.'],
  sentBefore,
])

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const read = { permission: 'read:incidents' } as const
  const write = { permission: 'write:incidents' } as const

  app.get(
    '/:id',
    { config: read, schema: { params: IdParams, querystring: Query } },
    async function show(request, reply) {
      const notice = notices.get(request.query.notice ?? '')
      return sendDetails(request, reply, request.params.id, { notice })
    },
  )

  app.post(
    '/:id/comments',
    { config: { ...write, showAgain }, bodyLimit: incidentFormLimitBytes, schema: { params: IdParams } },
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
        if (isConflict(error))
          return sendDetails(request, reply.code(error.status), id, { form, isStale: true })
        if (!isValidationError(error)) throw error
        return sendDetails(request, reply.code(400), id, { form, version, errors: toCommentErrors(error) })
      }
    },
  )

  for (const [action, state] of [
    ['resolve', 'RESOLVED'],
    ['reopen', 'INVESTIGATING'],
  ] as const) {
    app.post(
      `/:id/${action}`,
      { config: write, schema: { params: IdParams } },
      async function setState(request, reply) {
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
      },
    )
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

  type State = {
    notice?: string | undefined
    form?: CommentForm
    /** The version from which the form was filled. Without it, that of the incident as it is shown. */
    version?: string
    errors?: FieldErrors
    isStale?: boolean
  }

  async function sendDetails(
    request: FastifyRequest,
    reply: FastifyReply,
    id: number,
    { notice, form = emptyCommentForm, version, errors = {}, isStale = false }: State,
  ) {
    const scope = scopeOf(request)
    const incident = await getIncident(app.db, id, scope)
    const comments = await listComments(app.db, id, scope)
    const isPublic = app.config.publicPage && (await isIncidentPublic(app.db, id))
    return sendPage(
      request,
      reply,
      { title: incident.title, section: 'incidents', notice },
      <>
        <Heading {...{ incident, isPublic }} />
        {isStale && (
          <ConflictSummary resource="incident">
            It is now {formatState(incident.state).toLowerCase()}. Read its updates below, and try again.
          </ConflictSummary>
        )}
        <Facts incident={incident} />
        <IfAllowed access="write:incidents">
          <UpdateForm
            {...{ incident, form, errors }}
            version={version ?? incident.version}
            formId={readFormId(request.body)}
          />
        </IfAllowed>
        <Timeline incidentId={id} comments={comments} />
        <IfAllowed access="admin">
          <p>
            <a href={auditPathOf('incident', String(id))}>Audit events of this incident</a>
          </p>
        </IfAllowed>
      </>,
    )
  }
}

export default routes

type HeadingProps = { incident: Incident; isPublic: boolean }

function Heading({ incident: { id, title, state, version }, isPublic }: HeadingProps) {
  const [action, label] = state === 'RESOLVED' ? ['reopen', 'Reopen'] : ['resolve', 'Resolve']
  return (
    <>
      <Breadcrumbs trail={[['Incidents', incidentsPath]]} current={title} />
      <div class="heading">
        <h1>{title}</h1>
        <div class="buttons">
          <PublicLink path={`/incidents/${id}`} isPublic={isPublic} />
          <IfAllowed access="write:incidents">
            <Form action={`${incidentPath(id)}/${action}`}>
              <input type="hidden" name="version" value={version} />
              <button>{label}</button>
            </Form>
            <a class="button" href={`${incidentPath(id)}/edit`}>
              Edit
            </a>
          </IfAllowed>
          <IfAllowed access="admin">
            <a class="button danger" href={`${incidentPath(id)}/delete`}>
              Delete
            </a>
          </IfAllowed>
        </div>
      </div>
    </>
  )
}

function Facts({ incident: { state, started_at, ended_at, monitors } }: { incident: Incident }) {
  return (
    <section class="card" aria-label="Details">
      <dl class="facts">
        <Fact name="State">
          <IncidentState state={state} />
        </Fact>
        <Fact name="Start">
          <TimeAgo time={started_at} />
        </Fact>
        {ended_at && (
          <Fact name="End">
            <TimeAgo time={ended_at} />
          </Fact>
        )}
        <Fact name="Monitors">
          <AffectedList affected={monitors} />
        </Fact>
      </dl>
    </section>
  )
}

type UpdateFormProps = {
  incident: Incident
  form: CommentForm
  version: string
  formId: string
  errors: FieldErrors
}

function UpdateForm({ incident: { id, state }, form, version, formId, errors }: UpdateFormProps) {
  return (
    <section aria-labelledby="post">
      <h2 id="post">Post an update</h2>
      <Form action={`${incidentPath(id)}/comments`} class="card form">
        <input type="hidden" name="version" value={version} />
        <input type="hidden" name="form_id" value={formId} />
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

function Timeline({ incidentId, comments }: { incidentId: number; comments: Comment[] }) {
  return (
    <section aria-labelledby="updates">
      <h2 id="updates">Updates</h2>
      {comments.length === 0 ? (
        <p class="muted">No updates yet. Post the first one above.</p>
      ) : (
        <ol class="events" aria-label="Updates, newest first">
          {comments.map(({ id, comment, state, commented_at }) => (
            <li key={id} class="card">
              <p>
                <IncidentState state={state} />{' '}
                <span class="muted">
                  <TimeAgo time={commented_at} />
                </span>
              </p>
              <p class="prose">{comment}</p>
              <IfAllowed access="write:incidents">
                <p class="actions">
                  <a href={`${incidentPath(incidentId)}/comments/${id}`}>Edit</a>
                  <a class="danger" href={`${incidentPath(incidentId)}/comments/${id}/delete`}>
                    Delete
                  </a>
                </p>
              </IfAllowed>
            </li>
          ))}
        </ol>
      )}
    </section>
  )
}
