import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { listIncidents } from '../../incidents/list.ts'
import type { Incident } from '../../incidents/repository.ts'
import { pageByTime } from '../../wire/pagination.ts'
import { toCurl } from '../curl.ts'
import { sendPage } from '../page.tsx'
import { FilterForm, FilterSelect, FilterText, NoMatches, PageLinks } from '../lists.tsx'
import { Copyable, IfAllowed, TimeAgo } from '../ui.tsx'
import { incidentPath, IncidentState, incidentsPath } from './ui.tsx'

const pageSize = 50

const views = [
  ['open', 'Open'],
  ['resolved', 'Resolved'],
  ['all', 'All'],
] as const

type View = (typeof views)[number][0]

const filters = {
  open: { open: true },
  resolved: { state: 'RESOLVED' },
  all: {},
} as const

const Query = Type.Object({
  view: Type.Enum(['open', 'resolved', 'all'], { default: 'open' }),
  monitor: Type.String({ default: '', maxLength: 255 }),
  q: Type.String({ default: '', maxLength: 255 }),
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
  notice: Type.Optional(Type.String()),
})

const notices = new Map([['deleted', 'Incident deleted.']])

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'read:incidents' } as const

  app.get('/', { config, schema: { querystring: Query } }, async function list(request, reply) {
    const { view, cursor, notice = '' } = request.query
    const fields = { view, monitor: request.query.monitor.trim(), q: request.query.q.trim() }
    const filter = {
      ...filters[view],
      scope: scopeOf(request),
      monitor_tags: fields.monitor === '' ? undefined : [fields.monitor],
      text: fields.q || undefined,
    }
    const { data, pagination } = await pageByTime(
      { cursor, limit: pageSize },
      'incidents',
      (page) => listIncidents(app.db, { ...filter, cursor: page.cursor }, page.limit),
      ({ started_at }) => started_at,
      (incident) => incident,
    )
    const position = { isFirst: cursor === undefined, next: pagination.next_cursor }
    return sendPage(
      request,
      reply,
      { title: 'Incidents', section: 'incidents', notice: notices.get(notice) },
      <>
        <div class="heading">
          <h1>Incidents</h1>
          <IfAllowed access="write:incidents">
            <a class="button primary" href={`${incidentsPath}/new`}>
              Open an incident
            </a>
          </IfAllowed>
        </div>
        <Filters {...fields} />
        {data.length === 0 ? <Empty fields={fields} request={request} /> : <IncidentList incidents={data} />}
        <PageLinks
          path={incidentsPath}
          fields={fields}
          {...position}
          labels={['Newest incidents', 'Older incidents']}
        />
      </>,
    )
  })
}

export default routes

type Fields = { view: View; monitor: string; q: string }

function isFiltered({ view, monitor, q }: Fields): boolean {
  return view !== 'open' || monitor !== '' || q !== ''
}

function Filters(fields: Fields) {
  return (
    <FilterForm path={incidentsPath} isFiltered={isFiltered(fields)}>
      <FilterText name="q" label="Title" value={fields.q} />
      <FilterText name="monitor" label="Tag of a monitor" value={fields.monitor} />
      <FilterSelect name="view" label="Show" value={fields.view} options={views} />
    </FilterForm>
  )
}

/** Replaces an empty list: with the next step, if nothing is filtered out. */
function Empty({ fields, request }: { fields: Fields; request: FastifyRequest }) {
  if (isFiltered(fields)) return <NoMatches items="incidents" path={incidentsPath} />
  return (
    <section class="card form" aria-labelledby="none">
      <h2 id="none">No open incidents</h2>
      <p>
        <a href={`${incidentsPath}?view=all`}>Show all incidents</a>
      </p>
      <IfAllowed access="write:incidents">
        <Copyable
          id="open-incident"
          label="To open one in a terminal, with a key that has the permission write:incidents"
          text={toCurl(request, 'POST /api/incidents', {
            title: 'Checkout is slow',
            comment: 'We are investigating.',
          })}
          hasButton
        />
      </IfAllowed>
    </section>
  )
}

/** Tags that an item names before it says how many more there are. */
const maxTags = 3

function IncidentList({ incidents }: { incidents: Incident[] }) {
  return (
    <ul class="card rows links" aria-label="Incidents, newest start first">
      {incidents.map(({ id, title, state, started_at, ended_at, monitors }) => (
        <li key={id}>
          <span>
            <a href={incidentPath(id)}>{title}</a>
            <span class="muted block">
              Started <TimeAgo time={started_at} />
              {ended_at && (
                <>
                  , ended <TimeAgo time={ended_at} />
                </>
              )}
            </span>
            {monitors.length > 0 && (
              <span class="muted block">
                {monitors
                  .slice(0, maxTags)
                  .map(({ monitor_tag: tag }) => tag)
                  .join(', ')}
                {monitors.length > maxTags && ` and ${monitors.length - maxTags} more`}
              </span>
            )}
          </span>
          <IncidentState state={state} />
        </li>
      ))}
    </ul>
  )
}
