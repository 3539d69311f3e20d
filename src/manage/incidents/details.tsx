import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { type Comment, listComments } from '../../incidents/comments.ts'
import { isIncidentPublic } from '../../incidents/public-incidents.ts'
import { getIncident, type Incident } from '../../incidents/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { AffectedList } from '../affected-monitors.tsx'
import { auditPathOf } from '../audit-events.tsx'
import type { EditState } from '../edit-form.tsx'
import { sendPage } from '../page.tsx'
import { readFormId, sentBefore } from '../submission.ts'
import {
  Breadcrumbs,
  ConflictSummary,
  Fact,
  Form,
  HiddenFields,
  IfAllowed,
  PublicLink,
  TimeAgo,
} from '../ui.tsx'
import { type CommentForm, emptyCommentForm } from './form.ts'
import { formatState, incidentPath, IncidentState, incidentsPath } from './ui.tsx'
import { UpdateForm, updateRoutes } from './updates.tsx'

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

  app.get(
    '/:id',
    { config: read, schema: { params: IdParams, querystring: Query } },
    async function show(request, reply) {
      const notice = notices.get(request.query.notice ?? '')
      return sendDetails(request, reply, request.params.id, { notice })
    },
  )

  await app.register(updateRoutes(sendDetails))

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

type State = Partial<EditState<CommentForm>> & { notice?: string | undefined }

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
              <HiddenFields fields={{ version }} />
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
