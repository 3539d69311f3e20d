import type { FastifyRequest } from 'fastify'

/** Kener's path of such URLs. The path continues with `/:tag/:secret`. */
export const heartbeatPrefix = '/ext/heartbeat'

/** Keeps the secret in the URL out of caches, and out of the Referer header of other requests. */
export const heartbeatHeaders = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }

export function isHeartbeatUrl(url: string): boolean {
  return url.startsWith(`${heartbeatPrefix}/`)
}

export function toHeartbeatUrl({ protocol, host }: FastifyRequest, tag: string, secret: string): string {
  return `${protocol}://${host}${heartbeatPrefix}/${tag}/${secret}`
}
