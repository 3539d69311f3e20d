import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { requirePrincipal } from '../../http/auth.ts'
import { soonDays } from '../../keys/expiry.ts'
import {
  countKeysByView,
  type KeyList,
  type KeyOrder,
  type KeyViewCounts,
  listKeysInOrder,
} from '../../keys/list.ts'
import { formatNumber } from '../format.ts'
import { sendPage } from '../page.tsx'
import { KeyTable } from './key-table.tsx'
import {
  formatListQuery,
  listFields,
  type ListQuery,
  type Sort,
  type StatusFilter,
  toListPath,
} from './list-query.ts'
import { maxSelected, revokePath } from './revoke-selected.tsx'
import { Breadcrumbs, keysPath } from './ui.tsx'

const tabs: [status: StatusFilter, label: string, empty: string][] = [
  ['', 'All', 'No keys.'],
  ['active', 'Active', 'No active keys.'],
  ['expiring', 'Expiring soon', `No key expires in the next ${soonDays} days.`],
  ['expired', 'Expired', 'No expired keys.'],
  ['revoked', 'Revoked', 'No revoked keys.'],
]

const sortLabels: [sort: Sort, label: string][] = [
  ['-created', 'Newest'],
  ['created', 'Oldest'],
  ['name', 'Name A–Z'],
  ['-name', 'Name Z–A'],
  ['-last_used', 'Last used'],
  ['last_used', 'Not used'],
  ['expires', 'Expires first'],
  ['-expires', 'Expires last'],
]

const count = Type.Integer({ default: 0, minimum: 0, maximum: maxSelected })

const Query = Type.Object({
  ...listFields,
  // For the notice after a revocation.
  revoked: count,
  unchanged: count,
})

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/', { schema: { querystring: Query } }, async function list(request, reply) {
    const { status, sort, cursor, revoked, unchanged } = request.query
    const q = request.query.q.trim()
    const text = q === '' ? undefined : q
    const page = await listKeysInOrder(app.db, {
      view: status === '' ? 'all' : status,
      text,
      order: sort.replace('-', '') as KeyOrder,
      isDescending: sort.startsWith('-'),
      cursor,
      limit: maxSelected,
    })
    const counts = await countKeysByView(app.db, text)
    return sendPage(
      request,
      reply,
      { title: 'API Keys', section: 'settings', notice: toNotice(revoked, unchanged) },
      <ListPage
        query={{ status, q, sort, cursor }}
        page={page}
        counts={counts}
        ownId={requirePrincipal(request).id}
      />,
    )
  })
}

export default routes

function toNotice(revoked: number, unchanged: number): string | undefined {
  if (revoked + unchanged === 0) return undefined
  const before = unchanged > 0 && `${formatKeys(unchanged)} had been revoked before.`
  const now =
    revoked > 0 && `${formatKeys(revoked)} revoked. Every request with them is rejected from now on.`
  return [now, before].filter(Boolean).join(' ')
}

function formatKeys(count: number): string {
  return count === 1 ? '1 key' : `${formatNumber(count)} keys`
}

type ListPageProps = { query: ListQuery; page: KeyList; counts: KeyViewCounts; ownId: string }

function ListPage({ query, page, counts, ownId }: ListPageProps) {
  const { keys } = page
  const isComplete = page.previous === null && page.next === null
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
      <div class="list-controls">
        <Tabs query={query} counts={counts} />
        <FilterForm query={query} isComplete={isComplete} />
      </div>
      {keys.length === 0 ? (
        <Empty query={query} />
      ) : (
        <form method="get" action={revokePath} class="selection">
          <input type="hidden" name="from" value={formatListQuery(query)} />
          <KeyTable keys={keys} query={query} ownId={ownId} />
          <p class="empty card" id="no-matches" role="status" hidden />
          <div class="list-end">
            <div class="selected">
              <button class="danger">Revoke selected</button>
            </div>
            <Pages query={query} page={page} total={counts[query.status === '' ? 'all' : query.status]} />
          </div>
        </form>
      )}
    </>
  )
}

/** Counts the keys that match the search, by status. */
function Tabs({ query, counts }: { query: ListQuery; counts: KeyViewCounts }) {
  return (
    <nav class="tabs" aria-label="Status">
      {tabs.map(([status, label]) => (
        <a
          key={status}
          href={toListPath(formatListQuery({ ...query, status, cursor: undefined }))}
          aria-current={status === query.status ? 'page' : undefined}
        >
          {label} <span class="number">{formatNumber(counts[status === '' ? 'all' : status])}</span>
        </a>
      ))}
    </nav>
  )
}

type FilterFormProps = {
  query: ListQuery
  /** True if the page contains all matches: then manage.js filters them without a request. */
  isComplete: boolean
}

/** On a wide page, the headers of the table sort it. The select remains in the form, because it contains the order. */
function FilterForm({ query: { status, q, sort }, isComplete }: FilterFormProps) {
  return (
    <form
      class="list-filter"
      method="get"
      action={keysPath}
      role="search"
      data-filters={isComplete ? 'keys' : undefined}
    >
      {status !== '' && <input type="hidden" name="status" value={status} />}
      <input
        type="search"
        name="q"
        value={q}
        maxLength={100}
        autocomplete="off"
        placeholder="Search name, description or ID"
        aria-label="Name, description or ID"
      />
      <select name="sort" aria-label="Sort">
        {sortLabels.map(([value, label]) => (
          <option key={value} value={value} selected={value === sort}>
            {label}
          </option>
        ))}
      </select>
      <button>Filter</button>
    </form>
  )
}

function Empty({ query: { status, q } }: { query: ListQuery }) {
  const [, , empty] = tabs.find(([tab]) => tab === status) ?? []
  return (
    <p class="empty card">
      {q === '' ? empty : 'No keys match these filters.'} <a href={keysPath}>Show all keys</a>
    </p>
  )
}

function Pages({ query, page, total }: { query: ListQuery; page: KeyList; total: number }) {
  const { keys, previous, next } = page
  // The number of keys is current, while the position of a page may have been counted before keys were added.
  const start = next === null ? total - keys.length + 1 : page.start
  const end = start + keys.length - 1
  const toPath = (cursor: string) => toListPath(formatListQuery({ ...query, cursor }))
  return (
    <nav class="pages" aria-label="Pages">
      <span class="muted">
        {formatNumber(start)}–{formatNumber(end)} of {formatNumber(Math.max(total, end))}
      </span>
      {previous !== null && (
        <a class="button" rel="prev" href={toPath(previous)}>
          Previous
        </a>
      )}
      {next !== null && (
        <a class="button" rel="next" href={toPath(next)}>
          Next
        </a>
      )}
    </nav>
  )
}
