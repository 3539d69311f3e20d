import type { AuditEventObject } from '../wire/audit.ts'
import { withBackend } from './backend.ts'
import { type Io, print, printError } from './io.ts'
import { parseSince, parseUrl } from './key-options.ts'

/** Prints audit events, newest first, page by page, because there may be more than fit into memory. */
export async function listAuditEvents(
  io: Io,
  {
    url,
    since,
    json = false,
  }: { url?: string | undefined; since?: string | undefined; json?: boolean | undefined },
): Promise<number> {
  const start = parseSince(since)
  return withBackend(io, parseUrl(url), async (backend) => {
    const from =
      start && ('at' in start ? start.at : new Date((await backend.now()).getTime() - start.beforeMs))
    let isEmpty = true
    for await (const events of backend.auditEvents(from)) {
      for (const event of events) {
        const separator = isEmpty ? '[\n' : ',\n'
        await print(io, json ? `${separator}${JSON.stringify(event)}` : `${describe(event)}\n`)
        isEmpty = false
      }
    }
    if (json) await print(io, isEmpty ? '[]\n' : '\n]\n')
    else if (isEmpty) printError(io, 'No audit events match.\n')
    return 0
  })
}

/** Formats an event on one line. Values are JSON, so that texts that people entered cannot break the line. */
function describe({ at, action, target, actor, changes, address }: AuditEventObject): string {
  const by = actor.key_id === null ? 'an operator' : `${actor.key_id} ${JSON.stringify(actor.key_name)}`
  const from = address === null ? '' : ` from ${address}`
  const fields = Object.entries(changes).map(
    ([field, [before, after]]) => `${field}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`,
  )
  const subject = `${target.type} ${target.id}${target.name === null ? '' : ` ${JSON.stringify(target.name)}`}`
  return [at, action, subject, `by ${by} via ${actor.via}${from}`, ...fields].join('  ')
}
