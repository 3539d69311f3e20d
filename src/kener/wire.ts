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
 * Returns the base of the `url` fields, with the host that the client used. In Kener they link to the status page; here
 * they link to the resource in this API.
 */
export function originOf({ protocol, host }: FastifyRequest): string {
  return `${protocol}://${host}/api/v4`
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
