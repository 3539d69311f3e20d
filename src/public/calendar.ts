import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { publicOutput } from '../http/public-output.ts'
import { type DatedEvent, listPublicEvents } from '../maintenances/public-maintenances.ts'
import { NotModified } from '../wire/envelope.ts'
import { siteUrl } from '../http/site-url.ts'

/** Most upcoming and most past events. */
const maxEvents = 200

/** How often calendars should read it again, in seconds. */
const refreshSeconds = 3_600

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { siteName } = app.config

  const sendCalendar = app.sharePublicOutput(
    async (base) => toCalendar(siteName, base, await listPublicEvents(app.db, maxEvents)),
    { type: 'text/calendar; charset=utf-8' },
  )
  app.get(
    '/maintenances.ics',
    {
      config: publicOutput,
      schema: {
        operationId: 'readCalendar',
        summary: 'Get the events of maintenances as a calendar',
        response: {
          200: {
            description:
              'The calendar (RFC 5545): at most 200 ongoing and future events, and the last 200 others',
            content: {
              'text/calendar': { schema: Type.String({ examples: ['BEGIN:VCALENDAR\r\nEND:VCALENDAR'] }) },
            },
          },
          304: NotModified,
        },
      },
    },
    async function readCalendar(request, reply) {
      return await sendCalendar(request, reply, siteUrl(request))
    },
  )
}

export default routes

async function toCalendar(siteName: string, base: string, events: DatedEvent[]): Promise<Buffer> {
  // Loaded when it is used, so that it does not lengthen the start of the service.
  const {
    default: createCalendar,
    ICalCalendarMethod,
    ICalEventStatus,
    ICalEventTransparency,
  } = await import('ical-generator')
  const calendar = createCalendar({
    name: `${siteName}: maintenances`,
    prodId: { company: 'kener-api', product: 'maintenances', language: 'EN' },
    method: ICalCalendarMethod.PUBLISH,
    ttl: refreshSeconds,
  })
  for (const event of events) {
    const { id, event_id, title, state, starts_at, ends_at, created_at, updated_at } = event
    calendar.createEvent({
      // Unique among all sites, as RFC 5545 requires.
      id: `maintenance-event-${event_id}@${new URL(base).host}`,
      summary: toText(title).replace(/\s+/g, ' '),
      description: toText(describeEvent(event)),
      start: starts_at,
      end: ends_at,
      url: `${base}/maintenances/${id}`,
      status: state === 'CANCELLED' ? ICalEventStatus.CANCELLED : ICalEventStatus.CONFIRMED,
      // A maintenance takes no time of the person that reads about it.
      transparency: ICalEventTransparency.TRANSPARENT,
      created: created_at,
      // From the data, so that equal data has the same text. Each update has a later one.
      stamp: updated_at,
      lastModified: updated_at,
      sequence: Math.floor((updated_at.getTime() - created_at.getTime()) / 1000),
    })
  }
  // Each line ends with a line break (RFC 5545, section 3.1), which the library leaves out after the last one.
  return Buffer.from(`${calendar.toString()}\r\n`)
}

function describeEvent({ description, monitors }: DatedEvent): string {
  const affected = monitors.length > 0 ? [`Affects ${monitors.map(({ name }) => name).join(', ')}`] : []
  return [...(description === null ? [] : [description]), ...affected].join('\n\n')
}

/** Removes control characters, which RFC 5545 does not allow in texts, except line breaks, which are escaped. */
function toText(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(/[\0-\x08\x0b-\x1f\x7f]/g, '')
}
