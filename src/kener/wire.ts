import type { FastifyRequest } from 'fastify'

/** Returns the start of the minute that contains the time. @param seconds since 1970 */
export function toMinuteStart(seconds: number): Date {
  return new Date(Math.floor(seconds / 60) * 60_000)
}

/** Returns whole seconds since 1970. */
export function toSeconds(time: Date): number {
  return Math.floor(time.getTime() / 1000)
}

/**
 * Returns the `url` of an incident, a maintenance or an event: its public page, as in Kener, or with PUBLIC_PAGE=off, the
 * resource in this API. Without SITE_URL it has the host that the client used.
 * @param path of the resource below /api/v4. @param page path of its public page
 */
export function toUrl({ protocol, host, server }: FastifyRequest, path: string, page = path): string {
  const { publicPage, siteUrl = `${protocol}://${host}` } = server.config
  return publicPage ? siteUrl + page : `${siteUrl}/api/v4${path}`
}

/** Splits a comma-separated list of tags. */
export function splitTags(text: string): string[] {
  return text
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '')
}

/** Fills in the default impact where it is missing, null or empty. */
export function toAffected<Impact extends string>(
  values: { monitor_tag: string; impact?: Impact | '' | null }[],
  defaultImpact: Impact,
): { monitor_tag: string; impact: Impact }[] {
  return values.map(({ monitor_tag, impact }) => ({ monitor_tag, impact: impact ? impact : defaultImpact }))
}

export function toActivity(enabled: boolean) {
  return enabled ? ('ACTIVE' as const) : ('INACTIVE' as const)
}

export function toYesNo(value: boolean) {
  return value ? ('YES' as const) : ('NO' as const)
}
