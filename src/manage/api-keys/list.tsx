import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { listKeyPage } from '../../keys/lifecycle.ts'
import type { ApiKey } from '../../keys/repository.ts'
import { sendPage } from '../page.tsx'
import { PageLinks, TimeAgoOrNever } from '../ui.tsx'
import { Breadcrumbs, canRotate, keyPath, keysPath, PermissionTags, RateLimit, Status } from './ui.tsx'

const pageSize = 50

const statuses = [
  ['', 'All'],
  ['active', 'Active'],
  ['expired', 'Expired'],
  ['revoked', 'Revoked'],
] as const

const Query = Type.Object({
  status: Type.Enum(['', 'active', 'expired', 'revoked'], { default: '' }),
  q: Type.String({ default: '', maxLength: 100 }),
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
})

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/', { schema: { querystring: Query } }, async function list(request, reply) {
    const { status, q, cursor } = request.query
    const text = q.trim()
    const { data, pagination } = await listKeyPage(app.db, {
      status: status === '' ? undefined : status,
      text: text === '' ? undefined : text,
      cursor,
      limit: pageSize,
    })
    const list = { status, text: q, isFirst: cursor === undefined, next: pagination.next_cursor }
    return sendPage(
      request,
      reply,
      { title: 'API Keys', section: 'settings' },
      <ListPage {...list} keys={data} rateLimitMax={app.config.rateLimitMax} />,
    )
  })
}

export default routes

type Filter = { status: string; text: string }
type Position = { isFirst: boolean; next: string | null }
type KeysProps = { keys: ApiKey[]; rateLimitMax: number }

function ListPage({ keys, rateLimitMax, status, text, isFirst, next }: KeysProps & Filter & Position) {
  return (
    <>
      <Breadcrumbs />
      <div class="heading">
        <h1>API Keys</h1>
        <div class="buttons">
          <a class="button" href={`${keysPath}/advice`}>
            Advice
          </a>
          <a class="button primary" href={`${keysPath}/new`}>
            Generate New Key
          </a>
        </div>
      </div>
      <FilterForm status={status} text={text} isComplete={isFirst && next === null} />
      {keys.length === 0 ? (
        <p class="empty card">No keys match. Change the filter, or generate a new key.</p>
      ) : (
        <KeyTable keys={keys} rateLimitMax={rateLimitMax} />
      )}
      <p class="empty card" id="no-matches" role="status" hidden />
      <PageLinks
        path={keysPath}
        fields={{ status, q: text }}
        isFirst={isFirst}
        next={next}
        labels={['Newest keys', 'Older keys']}
      />
    </>
  )
}

/** @param isComplete if the page contains all matches: then manage.js filters them without a request. */
function FilterForm({ status, text, isComplete }: Filter & { isComplete: boolean }) {
  return (
    <form
      class="filter"
      method="get"
      action={keysPath}
      role="search"
      data-filters={isComplete ? 'keys' : undefined}
    >
      <label>
        <span>Name, description or ID</span>
        <input type="search" name="q" value={text} maxLength={100} autocomplete="off" />
      </label>
      <label>
        <span>Status</span>
        <select name="status">
          {statuses.map(([value, label]) => (
            <option key={value} value={value} selected={value === status}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <button>Filter</button>
      {(status !== '' || text !== '') && <a href={keysPath}>Show all</a>}
    </form>
  )
}

/** States the ARIA roles, because browsers drop them when the style sheet shows the rows as cards on a narrow page. */
function KeyTable({ keys, rateLimitMax }: KeysProps) {
  return (
    <table class="keys" id="keys" role="table" aria-label="API keys, newest first">
      <thead role="rowgroup">
        <tr role="row">
          {['Name', 'Permissions', 'Status', 'Expiry', 'Last use', 'Limit', 'Actions'].map((name) => (
            <th key={name} scope="col" role="columnheader">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {keys.map((key) => (
          <tr
            key={key.id}
            role="row"
            data-name={key.name.toLowerCase()}
            data-id={key.id}
            data-status={key.status}
          >
            <th scope="row" role="rowheader">
              <a href={keyPath(key.id)}>{key.name}</a>
              <code class="id">{key.id}</code>
              {key.description !== null && <span class="more clamped description">{key.description}</span>}
            </th>
            <td role="cell" data-label="Permissions">
              <div>
                <PermissionTags permissions={key.permissions} />
                <Scope preposition="on" items={key.monitors} />
                <Scope preposition="from" items={key.allowed_ips} />
              </div>
            </td>
            <td role="cell" data-label="Status">
              <div>
                <Status status={key.status} />
                {key.rotated_to !== null && (
                  <a class="more" href={keyPath(key.rotated_to)} aria-label={`Successor of ${key.name}`}>
                    Successor
                  </a>
                )}
              </div>
            </td>
            <td role="cell" data-label="Expiry">
              <TimeAgoOrNever time={key.expires_at} />
            </td>
            <td role="cell" data-label="Last use">
              <TimeAgoOrNever time={key.last_used_at} />
            </td>
            <td role="cell" data-label="Limit">
              <RateLimit limit={key.rate_limit} rateLimitMax={rateLimitMax} />
            </td>
            <td role="cell" class="actions">
              {canRotate(key) && (
                <a href={`${keyPath(key.id)}/rotate`} aria-label={`Rotate ${key.name}`}>
                  Rotate
                </a>
              )}
              {key.status !== 'revoked' && (
                <a class="danger" href={`${keyPath(key.id)}/revoke`} aria-label={`Revoke ${key.name}`}>
                  Revoke
                </a>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

/** Shows the first monitor or address that a key is limited to, and how many more there are. */
function Scope({ preposition, items }: { preposition: 'on' | 'from'; items: string[] | null }) {
  if (items === null) return null
  const [first, ...others] = items
  return (
    <span class="more clamped" title={items.slice(0, 20).join(', ')}>
      {preposition} <code>{first}</code>
      {others.length > 0 && ` and ${others.length} more`}
    </span>
  )
}
