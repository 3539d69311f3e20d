import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { render } from 'preact-render-to-string'
import { Type } from 'typebox'
import { publicOutput } from '../http/public-output.ts'
import type { PublicIncident } from '../incidents/public-incidents.ts'
import type { DatedEvent } from '../maintenances/public-maintenances.ts'
import { type History, readHistory } from '../status/history.ts'
import { NotModified } from '../wire/envelope.ts'
import { siteUrl } from '../http/site-url.ts'
import { formatDateTime } from '../wire/time-text.ts'
import { eventNames, stateNames } from './ui.tsx'
import { toXmlText } from './xml-text.ts'

/** Most entries of a feed, those that were updated last. */
const maxEntries = 50

type Entry = {
  title: string
  /** Also the id of the entry, which stays the same as long as the address of the site does. */
  link: string
  published: Date
  updated: Date
  html: string
}

type Feed = { author: string; title: string; link: string; self: string; updated: Date; entries: Entry[] }

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { siteName } = app.config

  const readFeed = async (base: string, path: string): Promise<Feed> => {
    const entries = toEntries(await readHistory(app.db), base)
    return {
      author: siteName,
      title: `${siteName}: incidents and maintenances`,
      link: `${base}/`,
      self: base + path,
      updated: entries[0]?.updated ?? new Date(0),
      entries,
    }
  }

  const sendAtom = app.sharePublicOutput(async (base) => toAtom(await readFeed(base, '/feed.atom')), {
    type: 'application/atom+xml; charset=utf-8',
  })
  app.get(
    '/feed.atom',
    {
      config: publicOutput,
      schema: {
        operationId: 'readAtomFeed',
        summary: 'Get incidents and maintenances as an Atom feed',
        response: describeXml(
          'application/atom+xml',
          'The feed: the 50 incidents and maintenances that were updated last',
          '<feed xmlns="http://www.w3.org/2005/Atom"></feed>',
        ),
      },
    },
    async function readAtomFeed(request, reply) {
      return await sendAtom(request, reply, siteUrl(request))
    },
  )

  const sendRss = app.sharePublicOutput(async (base) => toRss(await readFeed(base, '/rss.xml')), {
    type: 'application/rss+xml; charset=utf-8',
  })
  app.get(
    '/rss.xml',
    {
      config: publicOutput,
      schema: {
        operationId: 'readRssFeed',
        summary: 'Get incidents and maintenances as an RSS feed',
        response: describeXml(
          'application/rss+xml',
          'The feed: the 50 incidents and maintenances that were updated last',
          '<rss version="2.0"></rss>',
        ),
      },
    },
    async function readRssFeed(request, reply) {
      return await sendRss(request, reply, siteUrl(request))
    },
  )
}

export default routes

function describeXml(type: string, description: string, example: string) {
  return {
    200: { description, content: { [type]: { schema: Type.String({ examples: [example] }) } } },
    304: NotModified,
  }
}

// The writers are loaded when they are used, so that they do not lengthen the start of the service.

async function toAtom({ author, title, link, self, updated, entries }: Feed): Promise<Buffer> {
  const { generateAtomFeed } = await import('feedsmith')
  return Buffer.from(
    generateAtomFeed({
      id: self,
      title: { value: title },
      updated,
      authors: [{ name: author }],
      links: [
        { href: self, rel: 'self', type: 'application/atom+xml' },
        { href: link, rel: 'alternate', type: 'text/html' },
      ],
      entries: entries.map((entry) => ({
        id: entry.link,
        title: { value: entry.title },
        published: entry.published,
        updated: entry.updated,
        links: [{ href: entry.link, rel: 'alternate', type: 'text/html' }],
        content: { type: 'html', value: entry.html },
      })),
    }),
  )
}

async function toRss({ title, link, self, updated, entries }: Feed): Promise<Buffer> {
  const { generateRssFeed } = await import('feedsmith')
  return Buffer.from(
    generateRssFeed({
      title,
      link,
      description: title,
      lastBuildDate: updated,
      atom: { links: [{ href: self, rel: 'self', type: 'application/rss+xml' }] },
      items: entries.map((entry) => ({
        guid: { value: entry.link, isPermaLink: true },
        title: entry.title,
        link: entry.link,
        pubDate: entry.published,
        // RSS has no element for the time of an update.
        atom: { updated: entry.updated },
        description: entry.html,
      })),
    }),
  )
}

function toEntries({ incidents, events }: History, base: string): Entry[] {
  const currentEvents = new Map<number, DatedEvent>()
  // The ongoing or next event of a maintenance comes first, otherwise its last one.
  for (const event of events) if (!currentEvents.has(event.id)) currentEvents.set(event.id, event)
  return [
    ...incidents.map((incident) => toIncidentEntry(incident, base)),
    ...[...currentEvents.values()].map((event) => toMaintenanceEntry(event, base)),
  ]
    .sort((a, b) => b.updated.getTime() - a.updated.getTime() || a.link.localeCompare(b.link))
    .slice(0, maxEntries)
}

function toIncidentEntry(incident: PublicIncident, base: string): Entry {
  const { id, title, started_at, updated_at, comments } = incident
  const times = [updated_at.getTime(), ...comments.map((comment) => comment.updated_at * 1000)]
  return {
    title: toTitle(title, `Incident ${id}`),
    link: `${base}/incidents/${id}`,
    published: started_at,
    updated: new Date(Math.max(...times)),
    html: toHtml(<IncidentContent incident={incident} />),
  }
}

/** A maintenance is also updated when its event starts and ends. */
function toMaintenanceEntry(event: DatedEvent, base: string): Entry {
  const { id, title, state, starts_at, ends_at, created_at, updated_at } = event
  const hasStarted = state === 'ONGOING' || state === 'COMPLETED'
  const times = [updated_at, ...(hasStarted ? [starts_at] : []), ...(state === 'COMPLETED' ? [ends_at] : [])]
  return {
    title: toTitle(title, `Maintenance ${id}`),
    link: `${base}/maintenances/${id}`,
    published: created_at,
    updated: new Date(Math.max(...times.map((time) => time.getTime()))),
    html: toHtml(<MaintenanceContent event={event} />),
  }
}

function toTitle(title: string, otherwise: string): string {
  return toXmlText(title).replace(/\s+/g, ' ').trim() || otherwise
}

function toHtml(content: Parameters<typeof render>[0]): string {
  return toXmlText(render(content))
}

function IncidentContent({ incident }: { incident: PublicIncident }) {
  const { state, started_at, ended_at, monitors, comments } = incident
  return (
    <>
      <p>
        <strong>{stateNames[state]}</strong>: since {formatDateTime(started_at)}
        {ended_at && `, until ${formatDateTime(ended_at)}`}
      </p>
      <Affected monitors={monitors} />
      {comments.map(({ comment, state, timestamp }) => (
        <p>
          <strong>{stateNames[state]}</strong>, {formatDateTime(new Date(timestamp * 1000))}
          <br />
          <Lines text={comment} />
        </p>
      ))}
    </>
  )
}

function MaintenanceContent({ event }: { event: DatedEvent }) {
  const { state, starts_at, ends_at, description, monitors } = event
  return (
    <>
      <p>
        <strong>{eventNames[state]}</strong>: {formatDateTime(starts_at)} to {formatDateTime(ends_at)}
      </p>
      <Affected monitors={monitors} />
      {description !== null && (
        <p>
          <Lines text={description} />
        </p>
      )}
    </>
  )
}

function Affected({ monitors }: { monitors: { name: string }[] }) {
  if (monitors.length === 0) return null
  return <p>Affects {monitors.map(({ name }) => name).join(', ')}</p>
}

function Lines({ text }: { text: string }) {
  return text.split('\n').map((line, index) => (
    <>
      {index > 0 && <br />}
      {line}
    </>
  ))
}
