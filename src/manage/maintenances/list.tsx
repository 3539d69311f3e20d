import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { listMaintenances, type Maintenance } from '../../maintenances/repository.ts'
import { pageByTime } from '../../wire/pagination.ts'
import { sendPage } from '../page.tsx'
import { IfAllowed, PageLinks } from '../ui.tsx'
import { describeSchedule } from './rule.ts'
import { EventStatus, maintenancePath, maintenancesPath, Span } from './ui.tsx'

const pageSize = 50

const views = [
  ['all', 'All'],
  ['enabled', 'Enabled'],
  ['disabled', 'Disabled'],
] as const

type View = (typeof views)[number][0]

const Query = Type.Object({
  view: Type.Enum(['all', 'enabled', 'disabled'], { default: 'all' }),
  monitor: Type.String({ default: '', maxLength: 255 }),
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
  notice: Type.Optional(Type.String()),
})

const notices = new Map([['deleted', 'Maintenance deleted.']])

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'read:incidents' } as const

  app.get('/', { config, schema: { querystring: Query } }, async function list(request, reply) {
    const { view, cursor, notice = '' } = request.query
    const fields = { view, monitor: request.query.monitor.trim() }
    const filter = {
      scope: scopeOf(request),
      enabled: view === 'all' ? undefined : view === 'enabled',
      monitor_tags: fields.monitor === '' ? undefined : [fields.monitor],
    }
    const { data, pagination } = await pageByTime(
      { cursor, limit: pageSize },
      'maintenances',
      (page) => listMaintenances(app.db, { ...filter, cursor: page.cursor }, page.limit),
      ({ starts_at }) => starts_at,
      (maintenance) => maintenance,
    )
    const position = { isFirst: cursor === undefined, next: pagination.next_cursor }
    return sendPage(
      request,
      reply,
      { title: 'Maintenances', section: 'maintenances', notice: notices.get(notice) },
      <>
        <div class="heading">
          <h1>Maintenances</h1>
          <IfAllowed access="write:incidents">
            <a class="button primary" href={`${maintenancesPath}/new`}>
              Plan a maintenance
            </a>
          </IfAllowed>
        </div>
        <FilterForm {...fields} />
        {data.length === 0 ? <Empty {...fields} /> : <MaintenanceList maintenances={data} />}
        <PageLinks
          path={maintenancesPath}
          fields={fields}
          {...position}
          labels={['Newest maintenances', 'Older maintenances']}
        />
      </>,
    )
  })
}

export default routes

type Fields = { view: View; monitor: string }

function FilterForm({ view, monitor }: Fields) {
  return (
    <form class="filter" method="get" action={maintenancesPath} role="search">
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
      {(view !== 'all' || monitor !== '') && <a href={maintenancesPath}>Clear filters</a>}
    </form>
  )
}

function Empty({ view, monitor }: Fields) {
  if (view !== 'all' || monitor !== '') return <p class="empty card">No maintenances match these filters.</p>
  return (
    <p class="empty card">
      No maintenances yet. <a href={`${maintenancesPath}/new`}>Plan one</a>, so that its downtime does not
      count as an incident.
    </p>
  )
}

function MaintenanceList({ maintenances }: { maintenances: Maintenance[] }) {
  return (
    <ul class="card rows links" aria-label="Maintenances, newest start first">
      {maintenances.map((maintenance) => (
        <li key={maintenance.id}>
          <span>
            <a href={maintenancePath(maintenance.id)}>{maintenance.title}</a>
            <span class="muted block">{describeSchedule(maintenance)}</span>
            <NextEvent maintenance={maintenance} />
          </span>
          <MaintenanceStatus maintenance={maintenance} />
        </li>
      ))}
    </ul>
  )
}

function NextEvent({ maintenance: { next_event: next, enabled } }: { maintenance: Maintenance }) {
  if (!next || !enabled) return null
  return (
    <span class="muted block">
      {next.state === 'ONGOING' ? 'Started' : 'Next'}{' '}
      <Span from={new Date(next.starts_at * 1000)} to={new Date(next.ends_at * 1000)} />
    </span>
  )
}

function MaintenanceStatus({ maintenance: { next_event: next, enabled } }: { maintenance: Maintenance }) {
  if (!enabled) return <span class="status no_data">Disabled</span>
  return next ? <EventStatus state={next.state} /> : <span class="status no_data">Ended</span>
}
