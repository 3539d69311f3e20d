/** Kener's path of such URLs. The path continues with `/:tag/:secret`. */
export const heartbeatPrefix = '/ext/heartbeat'

/** Keeps the secret in the URL out of caches, and out of the Referer header of other requests. */
export const heartbeatHeaders = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }

export function isHeartbeatUrl(url: string): boolean {
  return url.startsWith(`${heartbeatPrefix}/`)
}

/** @param base of all absolute links: siteUrl */
export function toHeartbeatUrl(base: string, tag: string, secret: string): string {
  return `${base}${heartbeatPrefix}/${tag}/${secret}`
}
