import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { ApiError } from '../../errors.ts'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { closeEvent, type Event, getEvent, listNearEvents } from '../../maintenances/events.ts'
import { getMaintenance, type Maintenance } from '../../maintenances/repository.ts'
import { Id, IdParams } from '../../wire/ids.ts'
import { AffectedList } from '../affected-monitors.tsx'
import { auditPath } from '../audit-events.tsx'
import { sendPage } from '../page.tsx'
import { Fact, Form, IfAllowed } from '../ui.tsx'
import { describeSchedule } from './rule.ts'
import { Breadcrumbs, EventStatus, maintenancePath, Span } from './ui.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })
const EventParams = Type.Object({ id: Id, event_id: Id })

const notices = new Map([
  ['planned', 'Maintenance planned.'],
  ['saved', 'Changes saved.'],
  ['cancel', 'Event cancelled.'],
  ['end', 'Event ended.'],
])

/** Events that the page shows, of those to come and of the others. */
const maxEvents = 20

/** The two ways to close an event. */
const closings = [
  {
    action: 'cancel',
    state: 'CANCELLED',
    label: 'Cancel',
    question: 'Cancel this event?',
    button: 'Cancel event',
    consequence: 'It does not take place, or ends now if it is ongoing. This cannot be undone.',
  },
  {
    action: 'end',
    state: 'COMPLETED',
    label: 'End now',
    question: 'End this event now?',
    button: 'End event',
    consequence: 'Its monitors get the status of their reports again. This cannot be undone.',
  },
] as const

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

  for (const closing of closings) {
    const path = `/:id/events/:event_id/${closing.action}`
    const options = { config: write, schema: { params: EventParams } }

    app.get(path, options, async function confirm(request, reply) {
      const { id, event_id: eventId } = request.params
      const scope = scopeOf(request)
      const maintenance = await getMaintenance(app.db, id, scope)
      const event = await getEvent(app.db, id, eventId, scope)
      const page = { title: closing.question, section: 'maintenances' } as const
      return sendPage(request, reply, page, <ClosingPage {...{ maintenance, event, closing }} />)
    })

    app.post(path, options, async function close(request, reply) {
      const { id, event_id: eventId } = request.params
      try {
        await change(request, (change) => closeEvent(change, id, eventId, closing.state, scopeOf(request)))
      } catch (error) {
        if (!(error instanceof ApiError && error.code === 'CONFLICT')) throw error
        return sendDetails(request, reply.code(error.status), id, { isClosed: true })
      }
      return reply.redirect(`${maintenancePath(id)}?notice=${closing.action}`, 303)
    })
  }

  type State = { notice?: string | undefined; isClosed?: boolean }

  async function sendDetails(
    request: FastifyRequest,
    reply: FastifyReply,
    id: number,
    { notice, isClosed = false }: State,
  ) {
    const maintenance = await getMaintenance(app.db, id, scopeOf(request))
    const { upcoming, closed } = await listNearEvents(app.db, id, maxEvents)
    return sendPage(
      request,
      reply,
      { title: maintenance.title, section: 'maintenances', notice },
      <>
        <Heading maintenance={maintenance} />
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
            <a href={`${auditPath}?target=${id}`}>Audit events of this maintenance</a>
          </p>
        </IfAllowed>
      </>,
    )
  }
}

export default routes

function Heading({ maintenance: { id, title } }: { maintenance: Maintenance }) {
  return (
    <>
      <Breadcrumbs current={title} />
      <div class="heading">
        <h1>{title}</h1>
        <div class="buttons">
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

function Events({ events, label }: { events: Event[]; label: string }) {
  return (
    <ul class="card rows links" aria-label={label}>
      {events.map((event) => (
        <li key={event.id}>
          <span>
            <Span from={event.starts_at} to={event.ends_at} />
          </span>
          <span class="event">
            <EventStatus state={event.state} />
            <IfAllowed access="write:incidents">
              {closings
                .filter(({ action }) => isClosable(event, action))
                .map(({ action, label }) => (
                  <a
                    key={action}
                    class="button quiet"
                    href={`${maintenancePath(event.maintenance_id)}/events/${event.id}/${action}`}
                  >
                    {label}
                  </a>
                ))}
            </IfAllowed>
          </span>
        </li>
      ))}
    </ul>
  )
}

/** An ongoing event is ended, and one that has not started is cancelled. */
function isClosable({ state }: Event, action: 'cancel' | 'end'): boolean {
  return action === 'end' ? state === 'ONGOING' : state === 'SCHEDULED' || state === 'READY'
}

type ClosingProps = { maintenance: Maintenance; event: Event; closing: (typeof closings)[number] }

function ClosingPage({ maintenance, event, closing }: ClosingProps) {
  const { action, question, button, label, consequence } = closing
  const path = maintenancePath(maintenance.id)
  return (
    <>
      <Breadcrumbs current={label} maintenance={maintenance} />
      <h1>{question}</h1>
      <section class="card form">
        <p>
          <strong>{maintenance.title}</strong>
        </p>
        <p>
          <Span from={event.starts_at} to={event.ends_at} />
        </p>
        <p>{consequence}</p>
        <Form action={`${path}/events/${event.id}/${action}`}>
          <div class="buttons">
            <button class="primary danger">{button}</button>
            <a class="button" href={path}>
              Back
            </a>
          </div>
        </Form>
      </section>
    </>
  )
}
