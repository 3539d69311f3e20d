import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { listAuditPage } from '../audit/repository.ts'
import { auditActions, auditTargetTypes } from '../enums.ts'
import { AuditEvents, auditPath } from './audit-events.tsx'
import { formatAction } from './format.ts'
import { sendPage } from './page.tsx'
import { FilterForm, FilterSelect, FilterText, NoMatches, PageLinks } from './lists.tsx'

const pageSize = 50

const Day = Type.String({
  default: '',
  pattern: '^(\\d{4}-\\d{2}-\\d{2})?$',
  errorMessage: 'must be a day like 2026-01-31',
})

const Query = Type.Object({
  action: Type.Enum(['', ...auditActions], { default: '' }),
  actor: Type.String({ default: '', maxLength: 255 }),
  type: Type.Enum(['', ...auditTargetTypes], { default: '' }),
  target: Type.String({ default: '', maxLength: 2_048 }),
  from: Day,
  to: Day,
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
})

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/', { schema: { querystring: Query } }, async function list(request, reply) {
    const { action, actor, type, target, from, to, cursor } = request.query
    const filter = {
      action: action === '' ? undefined : action,
      actor: actor.trim() || undefined,
      target_type: type === '' ? undefined : type,
      target: target.trim() || undefined,
      from: toDayStart(from),
      to: toDayStart(to, 1),
    }
    const { data, pagination } = await listAuditPage(app.db, filter, { cursor, limit: pageSize })
    const fields = { action, actor, type, target, from, to }
    const isFiltered = Object.values(fields).some((value) => value !== '')
    return sendPage(
      request,
      reply,
      { title: 'Audit events', section: 'audit' },
      <>
        <h1>Audit events</h1>
        <p class="muted">
          Every change of keys, monitors, incidents and maintenances, and every log-in, newest first. Days are
          in UTC.
        </p>
        <Filters fields={fields} isFiltered={isFiltered} />
        {data.length === 0 ? (
          <NoMatches items="audit events" path={auditPath} />
        ) : (
          <AuditEvents events={data} label="Audit events, newest first" />
        )}
        <PageLinks
          path={auditPath}
          fields={fields}
          isFirst={cursor === undefined}
          next={pagination.next_cursor}
          labels={['Newest events', 'Older events']}
        />
      </>,
    )
  })
}

export default routes

/** Returns undefined for no day, and for one that no calendar has. @param offset in days */
function toDayStart(day: string, offset = 0): Date | undefined {
  const time = Date.parse(`${day}T00:00:00Z`)
  return Number.isNaN(time) ? undefined : new Date(time + offset * 86_400_000)
}

type Fields = Record<'action' | 'actor' | 'type' | 'target' | 'from' | 'to', string>

function Filters({ fields, isFiltered }: { fields: Fields; isFiltered: boolean }) {
  const any: [string, string] = ['', 'All']
  return (
    <FilterForm path={auditPath} isFiltered={isFiltered} isLong>
      <FilterSelect
        name="action"
        label="Action"
        value={fields.action}
        options={[any, ...auditActions.map((action): [string, string] => [action, formatAction(action)])]}
      />
      <FilterSelect
        name="type"
        label="Target"
        value={fields.type}
        options={[any, ...auditTargetTypes.map((type): [string, string] => [type, formatAction(type)])]}
      />
      <FilterText name="target" label="ID or tag of the target" value={fields.target} maxLength={2_048} />
      <FilterText name="actor" label="ID of the acting key" value={fields.actor} />
      <label>
        <span>From</span>
        <input type="date" name="from" value={fields.from} />
      </label>
      <label>
        <span>To</span>
        <input type="date" name="to" value={fields.to} />
      </label>
    </FilterForm>
  )
}
