import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { ApiError } from '../../errors.ts'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { closeEvent, type Event, getEvent, moveEvent, versionOf } from '../../maintenances/events.ts'
import { getMaintenance, type Maintenance } from '../../maintenances/repository.ts'
import { Id } from '../../wire/ids.ts'
import { ConfirmPage } from '../confirmation.tsx'
import { EditForm, type EditState, rejectEdit } from '../edit-form.tsx'
import {
  assertValidFields,
  describeDateTimeField,
  type FieldErrors,
  parseDateTimeField,
  readPrecondition,
  readText,
  toDateTimeField,
  toFieldErrors,
  toSavedValues,
} from '../form.ts'
import { sendPage } from '../page.tsx'
import { DateTimeField } from '../fields.tsx'
import { Breadcrumbs, IfAllowed } from '../ui.tsx'
import { EventStatus, maintenancePath, Span, trailOf } from './ui.tsx'

const Params = Type.Object({ id: Id, event_id: Id })

/** The two ways to close an event. */
const closings = [
  {
    action: 'cancel',
    state: 'CANCELLED',
    label: 'Cancel',
    page: 'Cancel event',
    question: 'Cancel this event?',
    consequence: 'It does not take place, or ends now if it is ongoing. This cannot be undone.',
  },
  {
    action: 'end',
    state: 'COMPLETED',
    label: 'End now',
    page: 'End event',
    question: 'End this event now?',
    consequence: 'Its monitors get the status of their reports again. This cannot be undone.',
  },
] as const

/** @param sendClosed sends the page of the maintenance if the event can no longer be closed */
export function registerEventRoutes(
  app: FastifyInstance,
  sendClosed: (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>,
): void {
  const options = { config: { permission: 'write:incidents' }, schema: { params: Params } } as const

  for (const closing of closings) {
    const path = `/:id/events/:event_id/${closing.action}`

    app.get(path, options, async function confirm(request, reply) {
      const { maintenance, event } = await read(request)
      const page = { title: closing.question, section: 'maintenances' } as const
      return sendPage(request, reply, page, <ClosingPage {...{ maintenance, event, closing }} />)
    })

    app.post(path, options, async function close(request, reply) {
      const { id, event_id: eventId } = paramsOf(request)
      try {
        await change(request, (change) => closeEvent(change, id, eventId, closing.state, scopeOf(request)))
      } catch (error) {
        if (!(error instanceof ApiError && error.code === 'CONFLICT')) throw error
        return sendClosed(request, reply)
      }
      return reply.redirect(`${maintenancePath(id)}?notice=${closing.action}`, 303)
    })
  }

  app.get('/:id/events/:event_id/move', options, async function showForm(request, reply) {
    const stored = await read(request)
    return sendMove(request, reply, stored, { form: fillSpan(stored.event) })
  })

  const moveOptions = { ...options, config: { ...options.config, showAgain } }
  app.post('/:id/events/:event_id/move', moveOptions, async function move(request, reply) {
    const { id, event_id: eventId } = paramsOf(request)
    const { body } = request
    const form = readSpan(body)
    const stored = await read(request)
    try {
      const span = parseSpan(form, stored.event)
      const expected = readPrecondition(body)
      await change(request, (change) => moveEvent(change, id, eventId, span, scopeOf(request), expected))
    } catch (error) {
      const entered = { form, version: readText(body, 'version') }
      const state = rejectEdit(error, reply, entered, (invalid) =>
        toFieldErrors(invalid, ({ message }) =>
          message === 'must be after starts_at' ? 'The end must be after the start' : message,
        ),
      )
      return sendMove(request, reply, await read(request), state)
    }
    return reply.redirect(`${maintenancePath(id)}?notice=moved`, 303)
  })

  async function showAgain(request: FastifyRequest, reply: FastifyReply) {
    const { body } = request
    const state = { form: readSpan(body), version: readText(body, 'version') }
    return sendMove(request, reply, await read(request), state)
  }

  async function read(request: FastifyRequest): Promise<Stored> {
    const { id, event_id: eventId } = paramsOf(request)
    const scope = scopeOf(request)
    const maintenance = await getMaintenance(app.db, id, scope)
    return { maintenance, event: await getEvent(app.db, id, eventId, scope) }
  }
}

function paramsOf({ params }: FastifyRequest) {
  return params as Static<typeof Params>
}

type Stored = { maintenance: Maintenance; event: Event }
type SpanForm = { startsAt: string; endsAt: string }

function fillSpan({ starts_at, ends_at }: Event): SpanForm {
  return { startsAt: toDateTimeField(starts_at), endsAt: toDateTimeField(ends_at) }
}

function readSpan(body: unknown): SpanForm {
  return { startsAt: readText(body, 'starts_at'), endsAt: readText(body, 'ends_at') }
}

/** Keeps a time in the same minute, because the form has no seconds. @throws ApiError 400 */
function parseSpan({ startsAt, endsAt }: SpanForm, before: Event) {
  const parse = (text: string, current: Date) =>
    text === toDateTimeField(current) ? current : parseDateTimeField(text)
  const starts_at = parse(startsAt, before.starts_at)
  const ends_at = parse(endsAt, before.ends_at)
  const message = 'Enter a day and a time, in UTC'
  assertValidFields({
    starts_at: starts_at ? undefined : message,
    ends_at: ends_at ? undefined : message,
  })
  if (!starts_at || !ends_at) throw new Error('A form that passed validation is incomplete')
  return { starts_at, ends_at }
}

function sendMove(
  request: FastifyRequest,
  reply: FastifyReply,
  { maintenance, event }: Stored,
  state: EditState<SpanForm>,
) {
  const { form, version = versionOf(event), errors = {}, isStale } = state
  const path = maintenancePath(maintenance.id)
  const toValues = ({ startsAt, endsAt }: SpanForm) => ({
    starts_at: describeDateTimeField(startsAt),
    ends_at: describeDateTimeField(endsAt),
  })
  const messages = isStale ? toSavedValues(toValues(form), toValues(fillSpan(event))) : errors
  return sendPage(
    request,
    reply,
    { title: 'Move this event', section: 'maintenances' },
    <>
      <Breadcrumbs trail={trailOf(maintenance)} current="Move event" />
      <h1>Move this event</h1>
      <EditForm
        resource="event"
        action={`${path}/events/${event.id}/move`}
        version={version}
        state={state}
        fields={<MoveFields {...{ maintenance, event, form, messages }} />}
        buttons={<button class="primary">Move event</button>}
        cancelPath={path}
      />
    </>,
  )
}

function MoveFields({
  maintenance,
  event,
  form,
  messages,
}: Stored & { form: SpanForm; messages: FieldErrors }) {
  return (
    <>
      <p>
        <strong>{maintenance.title}</strong>
        <span class="muted block">
          <Span from={event.starts_at} to={event.ends_at} />
        </span>
      </p>
      <div class="columns">
        <DateTimeField
          id="starts-at"
          name="starts_at"
          label="Start (UTC)"
          value={form.startsAt}
          required
          error={messages.starts_at}
        />
        <DateTimeField
          id="ends-at"
          name="ends_at"
          label="End (UTC)"
          value={form.endsAt}
          required
          error={messages.ends_at}
        />
      </div>
      <p class="muted">Only this event is moved. The schedule and its other events stay as they are.</p>
    </>
  )
}

export function Events({ events, label }: { events: Event[]; label: string }) {
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
              {isOpen(event) && (
                <a
                  class="button quiet"
                  href={`${maintenancePath(event.maintenance_id)}/events/${event.id}/move`}
                >
                  Move
                </a>
              )}
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

function isOpen({ state }: Event): boolean {
  return state !== 'COMPLETED' && state !== 'CANCELLED'
}

/** An ongoing event is ended, and one that has not started is cancelled. */
function isClosable({ state }: Event, action: 'cancel' | 'end'): boolean {
  return action === 'end' ? state === 'ONGOING' : state === 'SCHEDULED' || state === 'READY'
}

type ClosingProps = { maintenance: Maintenance; event: Event; closing: (typeof closings)[number] }

function ClosingPage({ maintenance, event, closing }: ClosingProps) {
  const { action, question, page, consequence } = closing
  const path = maintenancePath(maintenance.id)
  return (
    <ConfirmPage
      breadcrumbs={<Breadcrumbs trail={trailOf(maintenance)} current={page} />}
      question={question}
      action={`${path}/events/${event.id}/${action}`}
      button={page}
      isIrreversible
      cancel={[path, 'Back']}
    >
      <p>
        <strong>{maintenance.title}</strong>
      </p>
      <p>
        <Span from={event.starts_at} to={event.ends_at} />
      </p>
      <p>{consequence}</p>
    </ConfirmPage>
  )
}
