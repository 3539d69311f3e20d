import { UnknownMonitors } from '../database/monitors.ts'
import { type ApiError, invalidRequest } from '../errors.ts'

/** What the body of an incident or a maintenance says of monitors, in `monitors`. */
type Named = readonly { monitor_tag: string }[]

/** A monitor is affected in one way. @throws ApiError 400 */
export function refuseTwice(affected: Named = []): void {
  const seen = new Set<string>()
  affected.forEach(({ monitor_tag: tag }, index) => {
    if (seen.has(tag)) throw unknownOrTwice([index], 'is named twice')
    seen.add(tag)
  })
}

/** @throws ApiError 400 when it is for monitors that there are none of. */
export function explainMonitors(error: unknown, affected: Named): void {
  if (!(error instanceof UnknownMonitors)) return
  const indices = affected.flatMap(({ monitor_tag: tag }, index) => (error.tags.includes(tag) ? [index] : []))
  throw unknownOrTwice(indices, 'is not the tag of a monitor')
}

function unknownOrTwice(indices: number[], message: string): ApiError {
  const details = indices.map((index) => ({ path: `/monitors/${index}/monitor_tag`, message }))
  return invalidRequest(`Invalid body: ${details[0]?.path ?? '/monitors'} ${message}`, details)
}
