import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { listNearEvents } from '../../maintenances/events.ts'
import { isMaintenancePublic } from '../../maintenances/public-maintenances.ts'
import { getMaintenance, type Maintenance } from '../../maintenances/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { AffectedList } from '../affected-monitors.tsx'
import { auditPathOf } from '../audit-events.tsx'
import { sendPage } from '../page.tsx'
import { sentBefore } from '../submission.ts'
import { Breadcrumbs, Fact, IfAllowed, PublicLink } from '../ui.tsx'
import { Events, registerEventRoutes } from './events.tsx'
import { describeSchedule } from './rule.ts'
import { maintenancePath, maintenancesPath } from './ui.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['planned', 'Maintenance planned.'],
  ['saved', 'Changes saved.'],
  ['cancel', 'Event cancelled.'],
  ['end', 'Event ended.'],
  ['moved', 'Event moved.'],
  sentBefore,
])

/** Events that the page shows, of those to come and of the others. */
const maxEvents = 20

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

  registerEventRoutes(app, (request, reply) => {
    const { id } = request.params as { id: number }
    return sendDetails(request, reply.code(409), id, { isClosed: true })
  })

  type State = { notice?: string | undefined; isClosed?: boolean }

  async function sendDetails(
    request: FastifyRequest,
    reply: FastifyReply,
    id: number,
    { notice, isClosed = false }: State,
  ) {
    const maintenance = await getMaintenance(app.db, id, scopeOf(request))
    const { upcoming, closed } = await listNearEvents(app.db, id, maxEvents)
    const isPublic = app.config.publicPage && (await isMaintenancePublic(app.db, id))
    return sendPage(
      request,
      reply,
      { title: maintenance.title, section: 'maintenances', notice },
      <>
        <Heading {...{ maintenance, isPublic }} />
        {isClosed && (
          <p class="warning" role="alert">
            Nothing was changed, because the state of this event no longer allows it. Its current state is
            below.
          </p>
        )}
        <Facts maintenance={maintenance} />
        <section aria-labelledby="upcoming">
          <h2 id="upcoming">Ongoing and next events</h2>
          {upcoming.length === 0 ? (
            <p class="muted">
              No events. {maintenance.enabled ? 'Edit the maintenance' : 'Enable the maintenance'} to plan
              another date.
            </p>
          ) : (
            <Events events={upcoming} label="Ongoing and next events, soonest first" />
          )}
        </section>
        {closed.length > 0 && (
          <section aria-labelledby="closed">
            <h2 id="closed">Ended and cancelled events</h2>
            <Events events={closed} label="Ended and cancelled events, latest first" />
          </section>
        )}
        <IfAllowed access="admin">
          <p>
            <a href={auditPathOf('maintenance', String(id))}>Audit events of this maintenance</a>
          </p>
        </IfAllowed>
      </>,
    )
  }
}

export default routes

type HeadingProps = { maintenance: Maintenance; isPublic: boolean }

function Heading({ maintenance: { id, title }, isPublic }: HeadingProps) {
  return (
    <>
      <Breadcrumbs trail={[['Maintenances', maintenancesPath]]} current={title} />
      <div class="heading">
        <h1>{title}</h1>
        <div class="buttons">
          <PublicLink path={`/maintenances/${id}`} isPublic={isPublic} />
          <IfAllowed access="write:incidents">
            <a class="button" href={`${maintenancePath(id)}/edit`}>
              Edit
            </a>
          </IfAllowed>
          <IfAllowed access="admin">
            <a class="button danger" href={`${maintenancePath(id)}/delete`}>
              Delete
            </a>
          </IfAllowed>
        </div>
      </div>
    </>
  )
}

function Facts({ maintenance }: { maintenance: Maintenance }) {
  const { description, enabled, monitors } = maintenance
  return (
    <section class="card" aria-label="Details">
      <dl class="facts">
        <Fact name="Schedule">{describeSchedule(maintenance)}</Fact>
        {description !== null && (
          <Fact name="Description">
            <span class="prose">{description}</span>
          </Fact>
        )}
        {!enabled && (
          <Fact name="Status">
            <span class="status no_data">Disabled</span>{' '}
            <span class="muted">It affects no monitor and is not public.</span>
          </Fact>
        )}
        <Fact name="Monitors">
          <AffectedList affected={monitors} />
        </Fact>
      </dl>
    </section>
  )
}
