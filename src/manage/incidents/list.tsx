import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { type Incident, listIncidents } from '../../incidents/repository.ts'
import { pageByTime } from '../../wire/pagination.ts'
import { sendPage } from '../page.tsx'
import { IfAllowed, PageLinks, TimeAgo } from '../ui.tsx'
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
        <FilterForm {...fields} />
        {data.length === 0 ? <Empty {...fields} /> : <IncidentList incidents={data} />}
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

function FilterForm({ view, monitor, q }: Fields) {
  return (
    <form class="filter" method="get" action={incidentsPath} role="search">
      <label>
        <span>Title</span>
        <input type="search" name="q" value={q} maxLength={255} autocomplete="off" />
      </label>
      <label>
        <span>Tag of a monitor</span>
        <input name="monitor" value={monitor} maxLength={255} autocomplete="off" spellcheck={false} />
      </label>
      <label>
        <span>Show</span>
        <select name="view">
          {views.map(([value, label]) => (
            <option key={value} value={value} selected={value === view}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <button>Filter</button>
      {(view !== 'open' || monitor !== '' || q !== '') && <a href={incidentsPath}>Clear filters</a>}
    </form>
  )
}

function Empty({ view, monitor, q }: Fields) {
  if (view !== 'open' || monitor !== '' || q !== '')
    return <p class="empty card">No incidents match these filters.</p>
  return (
    <p class="empty card">
      No open incidents. <a href={`${incidentsPath}?view=all`}>Show all incidents</a>
    </p>
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
