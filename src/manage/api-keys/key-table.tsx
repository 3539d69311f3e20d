import { useContext } from 'preact/hooks'
import { isExpiringSoon } from '../../keys/expiry.ts'
import type { KeyOrder } from '../../keys/list.ts'
import type { ApiKey } from '../../keys/repository.ts'
import { CopyId, Now, ShortTime } from '../ui.tsx'
import { formatListQuery, type ListQuery, type Sort, toListPath } from './list-query.ts'
import { canRotate, keyPath, PermissionTags, Status, tagClass } from './ui.tsx'

/** @param order null for a column that the list cannot be sorted by */
const columns: [name: string, order: KeyOrder | null, firstSort?: Sort][] = [
  ['Name', 'name', 'name'],
  ['ID', null],
  ['Permissions', null],
  ['Status', null],
  ['Expires', 'expires', 'expires'],
  ['Last used', 'last_used', '-last_used'],
  ['Created', 'created', '-created'],
  ['Actions', null],
]

type Props = { keys: ApiKey[]; query: ListQuery; ownId: string }

/** States the ARIA roles, because browsers drop them when the style sheet changes the layout of rows on a narrow page. */
export function KeyTable({ keys, query, ownId }: Props) {
  return (
    <table class="api-keys" id="keys" role="table" aria-label="API keys">
      <thead role="rowgroup">
        <tr role="row">
          <td role="cell" class="check">
            <label>
              <input type="checkbox" aria-label="Select all keys on this page" data-checks-all="id" hidden />
            </label>
          </td>
          {columns.map(([name, order, firstSort]) => (
            <Header key={name} name={name} order={order} firstSort={firstSort} query={query} />
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {keys.map((key) => (
          <Row key={key.id} apiKey={key} isOwn={key.id === ownId} />
        ))}
      </tbody>
    </table>
  )
}

type HeaderProps = { name: string; order: KeyOrder | null; firstSort: Sort | undefined; query: ListQuery }

/** A link sorts by the column, or reverses the order if the list is sorted by it. */
function Header({ name, order, firstSort, query }: HeaderProps) {
  if (order === null || firstSort === undefined) {
    return (
      <th scope="col" role="columnheader" class={name === 'Actions' ? 'actions' : undefined}>
        {name}
      </th>
    )
  }
  const isDescending = query.sort === `-${order}`
  const isSorted = isDescending || query.sort === order
  const sort = !isSorted ? firstSort : isDescending ? order : (`-${order}` as const)
  return (
    <th
      scope="col"
      role="columnheader"
      aria-sort={isSorted ? (isDescending ? 'descending' : 'ascending') : undefined}
    >
      <a href={toListPath(formatListQuery({ ...query, sort, cursor: undefined }))}>{name}</a>
    </th>
  )
}

function Row({ apiKey, isOwn }: { apiKey: ApiKey; isOwn: boolean }) {
  const { id, name, description, status, last_used_at, revoked_at, rotated_to } = apiKey
  const isRevoked = revoked_at !== null
  return (
    <tr role="row" class={status} data-text={`${name} ${description ?? ''}`.toLowerCase()} data-id={id}>
      <td role="cell" class="check">
        <label>
          {!isRevoked && <input type="checkbox" name="id" value={id} aria-label={`Select ${name}`} />}
        </label>
      </td>
      <th scope="row" role="rowheader" class="name">
        <div>
          <a href={keyPath(id)} title={description === null ? name : `${name}: ${description}`}>
            {name}
          </a>
          {isOwn && <span class="tag">you</span>}
        </div>
      </th>
      <td role="cell" class="id">
        <CopyId id={id} name={name} />
      </td>
      <td role="cell" class="permissions">
        <Permissions apiKey={apiKey} />
      </td>
      <td
        role="cell"
        class="status-cell"
        colSpan={isRevoked ? 2 : undefined}
        aria-colspan={isRevoked ? 2 : undefined}
      >
        <Status status={status} />
        {isRevoked && (
          <>
            {' '}
            <ShortTime time={revoked_at} />
          </>
        )}
      </td>
      {!isRevoked && (
        <td role="cell" class="expires">
          <Expiry apiKey={apiKey} />
        </td>
      )}
      <td role="cell" class="last-used">
        {last_used_at === null ? (
          <>
            Never<span class="label"> used</span>
          </>
        ) : (
          <>
            <span class="label">Used </span>
            <ShortTime time={last_used_at} />
          </>
        )}
      </td>
      <td role="cell" class="created">
        <ShortTime time={apiKey.created_at} />
      </td>
      <td role="cell" class="actions">
        {rotated_to !== null && (
          <a href={keyPath(rotated_to)} aria-label={`Successor of ${name}`}>
            Successor
          </a>
        )}
        {canRotate(apiKey) && (
          <a href={`${keyPath(id)}/rotate`} aria-label={`Rotate ${name}`}>
            Rotate
          </a>
        )}
        {!isRevoked && (
          <a class="danger" href={`${keyPath(id)}/revoke`} aria-label={`Revoke ${name}`}>
            Revoke
          </a>
        )}
      </td>
    </tr>
  )
}

function Expiry({ apiKey }: { apiKey: ApiKey }) {
  const now = useContext(Now)
  const { expires_at, status } = apiKey
  if (expires_at === null) {
    return (
      <>
        Never<span class="label"> expires</span>
      </>
    )
  }
  return (
    <span class={isExpiringSoon(apiKey, now) ? 'soon' : undefined}>
      <span class="label">{status === 'expired' ? 'Expired ' : 'Expires '}</span>
      <ShortTime time={expires_at} />
    </span>
  )
}

/** Shows one permission. The others, and what limits the key, are folded. */
function Permissions({ apiKey: { permissions, monitors, allowed_ips } }: { apiKey: ApiKey }) {
  const shown = permissions.includes('admin') ? ['admin' as const] : permissions
  const foldedCount = shown.length - 1 + (monitors?.length ?? 0) + (allowed_ips?.length ?? 0)
  const [first = ''] = shown
  if (foldedCount === 0) return <PermissionTags permissions={shown} />
  return (
    <details name="permissions">
      <summary title={`${foldedCount} more permissions and limits`}>
        <span class={tagClass(first)}>{first}</span> +{foldedCount}
      </summary>
      <div class="fold">
        <PermissionTags permissions={shown} />
        <Scope preposition="on" items={monitors} />
        <Scope preposition="from" items={allowed_ips} />
      </div>
    </details>
  )
}

/** Shows the first monitor or address that a key is limited to, and how many more there are. */
function Scope({ preposition, items }: { preposition: 'on' | 'from'; items: string[] | null }) {
  if (items === null) return null
  const [first, ...others] = items
  return (
    <p title={items.slice(0, 20).join(', ')}>
      {preposition} <code>{first}</code>
      {others.length > 0 && ` and ${others.length} more`}
    </p>
  )
}
