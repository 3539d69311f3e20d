import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** Printable, without quotes and spaces. Long enough for two UUIDs or a trace header of a load balancer. */
const requestIdPattern = /^[\w.:;=+/@-]{1,128}$/

/** W3C Trace Context, section 3.2. Later versions may append fields: bounded, because spans in a queue keep the header. */
const traceparentPattern =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?$/

/** The span of a caller, which is the parent of the request's. */
type ParentSpan = { traceId: string; spanId: string; isSampled: boolean }

/**
 * Returns the caller's X-Request-Id, or a new one if it is missing or invalid. It need not be unique: nothing is looked
 * up by it. One that contains a key is ignored, because keys never appear in logs.
 */
export function toRequestId({ headers }: { headers: IncomingHttpHeaders }): string {
  const id = headers['x-request-id']
  const isAccepted = typeof id === 'string' && requestIdPattern.test(id) && !id.includes('kener_')
  return isAccepted ? id : randomUUID()
}

/** Returns undefined if the header is missing or invalid. */
export function parseTraceparent(header: string | string[] | undefined): ParentSpan | undefined {
  if (typeof header !== 'string') return undefined
  const [, version, traceId, spanId, flags = '', rest] = traceparentPattern.exec(header) ?? []
  if (traceId === undefined || spanId === undefined || (version === '00' && rest !== undefined))
    return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}
