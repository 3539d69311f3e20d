import type { IncomingMessage } from 'node:http'

const origin = /^https?:\/\/[^/?#]*/i

/**
 * Returns the path and the query of a request. A target in absolute form (RFC 9112, section 3.2.2) loses its origin, because
 * audit events, the scope of an Idempotency-Key and others depend on the start of the path, and must not differ by the form.
 */
export function toPath({ url = '/' }: Pick<IncomingMessage, 'url'>): string {
  if (url.startsWith('/') || !origin.test(url)) return url
  const path = url.replace(origin, '')
  return path.startsWith('/') ? path : `/${path}`
}
