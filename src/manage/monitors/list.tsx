import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { statuses } from '../../enums.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { listMonitors } from '../../monitors/list.ts'
import type { Monitor } from '../../monitors/repository.ts'
import { formatUptime } from '../../html/days.tsx'
import { paginate, parseCursor } from '../../wire/pagination.ts'
import { sendPage } from '../page.tsx'
import { FilterForm, FilterSelect, FilterText, NoMatches, PageLinks } from '../lists.tsx'
import { IfAllowed, TimeAgoOrNever } from '../ui.tsx'
import { FirstMonitor } from './first-monitor.tsx'
import {
  formatStatus,
  monitorPath,
  MonitorStatus,
  monitorsPath,
  StatusReason,
  toTime,
  VisibilityTags,
} from './ui.tsx'

const pageSize = 50

const visibilities = [
  ['', 'All'],
  ['visible', 'Public'],
  ['hidden', 'Hidden'],
  ['disabled', 'Disabled'],
] as const

const filters = {
  '': {},
  visible: { enabled: true, hidden: false },
  hidden: { hidden: true },
  disabled: { enabled: false },
}

const Query = Type.Object({
  q: Type.String({ default: '', maxLength: 255 }),
  status: Type.Enum(['', ...statuses], { default: '' }),
  category: Type.String({ default: '', maxLength: 255 }),
  shown: Type.Enum(['', 'visible', 'hidden', 'disabled'], { default: '' }),
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
  notice: Type.Optional(Type.String()),
})

const notices = new Map([['deleted', 'Monitor deleted.']])

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'read:monitors' } as const

  app.get('/', { config, schema: { querystring: Query } }, async function list(request, reply) {
    const { status, shown, cursor, notice = '' } = request.query
    const fields = { q: request.query.q.trim(), status, category: request.query.category.trim(), shown }
    const rows = await listMonitors(
      app.db,
      {
        ...filters[shown],
        scope: scopeOf(request),
        status: status === '' ? undefined : status,
        category_name: fields.category || undefined,
        text: fields.q || undefined,
        after: cursor === undefined ? undefined : parseCursor(cursor, 'monitors', /^[a-z0-9_-]{1,255}$/),
      },
      pageSize + 1,
    )
    const { data, pagination } = paginate(rows, pageSize, 'monitors', ({ tag }) => tag)
    const isFiltered = Object.values(fields).some((value) => value !== '')
    return sendPage(
      request,
      reply,
      { title: 'Monitors', section: 'monitors', notice: notices.get(notice) },
      <>
        <div class="heading">
          <h1>Monitors</h1>
          <IfAllowed access="write:monitors">
            <a class="button primary" href={`${monitorsPath}/new`}>
              Create a monitor
            </a>
          </IfAllowed>
        </div>
        {(data.length > 0 || isFiltered || cursor !== undefined) && <Filters {...{ fields, isFiltered }} />}
        {data.length > 0 ? (
          <MonitorTable monitors={data} />
        ) : isFiltered || cursor !== undefined ? (
          <NoMatches items="monitors" path={monitorsPath} />
        ) : (
          <FirstMonitor request={request} />
        )}
        <PageLinks
          path={monitorsPath}
          fields={fields}
          isFirst={cursor === undefined}
          next={pagination.next_cursor}
          labels={['First page', 'Next page']}
        />
      </>,
    )
  })
}

export default routes

type Fields = Record<'q' | 'status' | 'category' | 'shown', string>

function Filters({ fields, isFiltered }: { fields: Fields; isFiltered: boolean }) {
  return (
    <FilterForm path={monitorsPath} isFiltered={isFiltered}>
      <FilterText name="q" label="Name or tag" value={fields.q} />
      <FilterText name="category" label="Category" value={fields.category} />
      <FilterSelect
        name="status"
        label="Status"
        value={fields.status}
        options={[['', 'All'], ...statuses.map((value): [string, string] => [value, formatStatus(value)])]}
      />
      <FilterSelect name="shown" label="Public page" value={fields.shown} options={visibilities} />
    </FilterForm>
  )
}

/** States the ARIA roles, because browsers drop them when the style sheet shows the rows as cards on a narrow page. */
function MonitorTable({ monitors }: { monitors: Monitor[] }) {
  return (
    <table class="keys" role="table" aria-label="Monitors, by tag">
      <thead role="rowgroup">
        <tr role="row">
          {['Name', 'Status', 'Last report', 'Uptime'].map((name) => (
            <th key={name} scope="col" role="columnheader">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {monitors.map((monitor) => (
          <tr key={monitor.tag} role="row">
            <th scope="row" role="rowheader">
              <a href={monitorPath(monitor.tag)}>{monitor.name}</a> <VisibilityTags monitor={monitor} />
              <span class="more">
                <code>{monitor.tag}</code>
                {monitor.category_name !== null && ` · ${monitor.category_name}`}
              </span>
            </th>
            <td role="cell">
              <div>
                <MonitorStatus status={monitor.status} />
                <span class="more">
                  <StatusReason source={monitor.status_source} />
                </span>
              </div>
            </td>
            <td role="cell" class="last-report">
              <LastReport report={monitor.last_report} />
            </td>
            <td role="cell" class="uptime">
              <Uptime uptime={monitor.uptime} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function LastReport({ report }: { report: Monitor['last_report'] }) {
  return (
    <div>
      <TimeAgoOrNever time={report && toTime(report.minute)} />
    </div>
  )
}

function Uptime({ uptime }: Pick<Monitor, 'uptime'>) {
  if (uptime['90d'] === null) return <span class="muted">No data</span>
  return (
    <div class="nowrap">
      {formatUptime(uptime['90d'])} <span class="muted">in 90 days</span>
      {uptime['24h'] !== null && <span class="more">{formatUptime(uptime['24h'])} in 24 hours</span>}
    </div>
  )
}
