import { Type } from 'typebox'
import { keyOrders } from '../../keys/list.ts'
import { keysPath } from './ui.tsx'

type Order = (typeof keyOrders)[number]

/** An order, with - in front for descending. */
export type Sort = Order | `-${Order}`

const sorts = keyOrders.flatMap((order): Sort[] => [order, `-${order}`])

const defaultSort: Sort = '-created'

const statusFilters = ['', 'active', 'expiring', 'expired', 'revoked'] as const
export type StatusFilter = (typeof statusFilters)[number]

/** The query of a list of keys. Each link changes one part, and keeps the others. */
export type ListQuery = { status: StatusFilter; q: string; sort: Sort; cursor?: string | undefined }

export const listFields = {
  status: Type.Enum([...statusFilters], { default: '' }),
  q: Type.String({ default: '', maxLength: 100 }),
  sort: Type.Enum(sorts, { default: defaultSort }),
  cursor: Type.Optional(Type.String({ maxLength: 2_000 })),
}

/** Returns the query string without the values that are defaults. */
export function formatListQuery({ status, q, sort, cursor = '' }: ListQuery): string {
  const fields = Object.entries({ status, q, sort: sort === defaultSort ? '' : sort, cursor })
  return new URLSearchParams(fields.filter(([, value]) => value !== '')).toString()
}

/** Returns the path of the list. @param query of formatListQuery, as sent by a form */
export function toListPath(query: string, more: Record<string, string> = {}): string {
  const kept = [...new URLSearchParams(query)].filter(([name]) => name in listFields)
  const fields = new URLSearchParams([...kept, ...Object.entries(more)]).toString()
  return fields === '' ? keysPath : `${keysPath}?${fields}`
}
