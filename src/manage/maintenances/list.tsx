import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { scopeOf } from '../../http/permission-guard.ts'
import { listMaintenances } from '../../maintenances/list.ts'
import type { Maintenance } from '../../maintenances/repository.ts'
import { pageByTime } from '../../wire/pagination.ts'
import { toCurl } from '../curl.ts'
import { sendPage } from '../page.tsx'
import { FilterForm, FilterSelect, FilterText, NoMatches, PageLinks } from '../lists.tsx'
import { Copyable, IfAllowed } from '../ui.tsx'
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
        <Filters {...fields} />
        {data.length === 0 ? (
          <Empty fields={fields} request={request} />
        ) : (
          <MaintenanceList maintenances={data} />
        )}
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

function isFiltered({ view, monitor }: Fields): boolean {
  return view !== 'all' || monitor !== ''
}

function Filters(fields: Fields) {
  return (
    <FilterForm path={maintenancesPath} isFiltered={isFiltered(fields)}>
      <FilterText name="monitor" label="Tag of a monitor" value={fields.monitor} />
      <FilterSelect name="view" label="Show" value={fields.view} options={views} />
    </FilterForm>
  )
}

/** Replaces an empty list: with the next step, if nothing is filtered out. */
function Empty({ fields, request }: { fields: Fields; request: FastifyRequest }) {
  if (isFiltered(fields)) return <NoMatches items="maintenances" path={maintenancesPath} />
  return (
    <section class="card form" aria-labelledby="none">
      <h2 id="none">No maintenances yet</h2>
      <p>A planned maintenance is announced on the status page, and its minutes do not lower the uptime.</p>
      <IfAllowed access="write:incidents">
        <p>
          <a class="button" href={`${maintenancesPath}/new`}>
            Plan the first maintenance
          </a>
        </p>
        <Copyable
          id="plan-maintenance"
          label="Or in a terminal, with a key that has the permission write:incidents"
          text={toCurl(request, 'POST /api/maintenances', {
            title: 'Database upgrade',
            starts_at: `${tomorrow(request)}T02:00:00Z`,
            duration_seconds: 7200,
          })}
          hasButton
        />
      </IfAllowed>
    </section>
  )
}

/** `2026-01-31` */
function tomorrow({ session: { now = new Date() } }: FastifyRequest): string {
  return new Date(now.getTime() + 86_400_000).toISOString().slice(0, 10)
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
