import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type AuditFilter, exportAuditEvents, listAuditPage } from '../audit/repository.ts'
import { serializeAuditEvent } from '../wire/audit.ts'
import { describe, Page } from '../wire/envelope.ts'
import { assertRangeOrder } from '../wire/pagination.ts'
import { parseOptionalTime } from '../wire/time.ts'
import { AuditEvent, ListAuditEvents } from './schemas/audit.ts'

const ndjson = 'application/x-ndjson'

const AuditPage = Page(AuditEvent)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/',
    {
      config: { permission: 'admin' },
      schema: {
        operationId: 'listAuditEvents',
        summary: 'List audit events, newest first',
        description:
          `With \`Accept: ${ndjson}\`, the response contains all events that match, one per line: \`limit\` and ` +
          '`cursor` have no effect.',
        querystring: ListAuditEvents,
        response: { 200: describe(AuditPage, 'A page of audit events') },
      },
    },
    async function list({ query, headers }, reply) {
      const { from, to, limit, cursor, ...rest } = query
      assertRangeOrder({ from, to })
      const filter = { ...rest, from: parseOptionalTime(from), to: parseOptionalTime(to) }
      if (acceptsNdjson(headers.accept)) {
        reply.type(`${ndjson}; charset=utf-8`)
        return reply.send((await exportLines(filter)) as never)
      }
      const { data, pagination } = await listAuditPage(app.db, filter, { limit, cursor })
      return { success: true as const, data: data.map(serializeAuditEvent), pagination }
    },
  )

  /** Reads the first page before the response starts, so that an unavailable database is reported as 503. */
  async function exportLines(filter: AuditFilter): Promise<Readable> {
    const pages = exportAuditEvents(app.db, filter)
    const first = await pages.next()
    return Readable.from(toLines())

    async function* toLines(): AsyncGenerator<string> {
      for (let page = first; !page.done; page = await pages.next()) {
        yield page.value.map((event) => `${JSON.stringify(serializeAuditEvent(event))}\n`).join('')
      }
    }
  }
}

export default routes

/** Without a preference of NDJSON, the response is JSON, as for all routes. */
function acceptsNdjson(accept = ''): boolean {
  return accept.split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    return type === ndjson && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
  })
}
