import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { requirePrincipal } from '../http/auth.ts'
import { listAdvice } from '../keys/advice.ts'
import type { Finding as FindingRecord, Fix } from '../keys/findings.ts'
import { getKey } from '../keys/lifecycle.ts'
import { readUsage, usageIntervals } from '../keys/usage.ts'
import { describe, Page } from '../wire/envelope.ts'
import { KeyParams } from '../wire/keys.ts'
import { assertRangeOrder, paginate, parseCursor } from '../wire/pagination.ts'
import { formatMinute, formatTime, formatTimeOrNull, parseValidTime } from '../wire/time.ts'
import { Finding, ListAdvice, ReadUsage, UsageBucket } from './schemas/key-usage.ts'

const config = { permission: 'admin' } as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/:id/usage',
    {
      config,
      schema: {
        operationId: 'readKeyUsage',
        summary: 'List the usage of a key by hour or day',
        description:
          'Requests are counted up to 10 s later, and a crash may lose those of the last 10 s. A request is counted in the hour in which it is written.',
        params: KeyParams,
        querystring: ReadUsage,
        response: {
          200: describe(Page(UsageBucket), 'A page of buckets that have requests, in ascending order'),
        },
      },
    },
    async ({ params: { id }, query: { interval, limit, cursor, from, to } }) => {
      assertRangeOrder({ from, to })
      const list = `keys/${id}/usage?${interval}`
      const after = cursor === undefined ? undefined : Number(parseCursor(cursor, list, /^\d{1,7}$/))
      await getKey(app.db, id)
      await app.keyUsage.flush()
      const { hours } = usageIntervals[interval]
      const buckets = await readUsage(app.db, id, {
        interval,
        from: from === undefined ? undefined : Math.floor(toHours(from) / hours),
        to: to === undefined ? undefined : Math.ceil(toHours(to) / hours),
        after,
        limit: limit + 1,
      })
      const { data, pagination } = paginate(buckets, limit, list, ({ start }) => String(start))
      return {
        success: true as const,
        data: data.map(({ start, ...bucket }) => ({
          timestamp: formatMinute(start * hours * 60),
          ...bucket,
        })),
        pagination,
      }
    },
  )

  app.get(
    '/advice',
    {
      config,
      schema: {
        operationId: 'listKeyAdvice',
        summary: 'List what to change about active keys, newest keys first',
        description:
          'A page may have fewer findings than `limit`, or none, although others follow: the `next_cursor` of the last page is null.',
        querystring: ListAdvice,
        response: { 200: describe(Page(Finding), 'A page of findings') },
      },
    },
    async (request) => {
      const { id: callerId, expires_at: callerExpiresAt } = requirePrincipal(request)
      const { keyLifetimeMaxDays: lifetimeMaxDays } = app.config
      await app.keyUsage.flush()
      const caller = { callerId, callerExpiresAt, lifetimeMaxDays }
      const { data, pagination } = await listAdvice(app.db, caller, request.query)
      return { success: true as const, data: data.map(serializeFinding), pagination }
    },
  )
}

export default routes

function toHours(time: string): number {
  return parseValidTime(time).getTime() / 3_600_000
}

function serializeFinding({ since, fix, ...finding }: FindingRecord) {
  return {
    ...finding,
    ...(since && { since: formatTime(since) }),
    ...(fix && { fix: serializeFix(finding.key_id, fix) }),
  }
}

function serializeFix(id: string, fix: Fix) {
  if (fix.action === 'revoke') return { method: 'POST' as const, path: `/api/keys/${id}/revoke`, body: {} }
  const { permissions, expires_at } = fix.changes
  return {
    method: 'PATCH' as const,
    path: `/api/keys/${id}`,
    body: {
      ...(permissions && { permissions }),
      ...(expires_at !== undefined && { expires_at: formatTimeOrNull(expires_at) }),
    },
  }
}
