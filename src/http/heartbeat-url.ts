import type { FastifyRequest } from 'fastify'
import { siteUrl } from './site-url.ts'

/** Kener's path of such URLs. The path continues with `/:tag/:secret`. */
export const heartbeatPrefix = '/ext/heartbeat'

/** Keeps the secret in the URL out of caches, and out of the Referer header of other requests. */
export const heartbeatHeaders = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }

export function isHeartbeatUrl(url: string): boolean {
  return url.startsWith(`${heartbeatPrefix}/`)
}

/** @throws ApiError 400 if the request has an invalid Host */
export function toHeartbeatUrl(request: FastifyRequest, tag: string, secret: string): string {
  return `${siteUrl(request)}${heartbeatPrefix}/${tag}/${secret}`
}
