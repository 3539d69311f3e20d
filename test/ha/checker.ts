import {
  type History,
  type KeyChange,
  type KeyUse,
  type Operation,
  transitions,
  type Write,
} from './history.ts'

/** Longest response time, in every state of the database. */
export const responseMsMax = 5_000
/** Longest time from when the cluster accepts writes until the service does. */
export const recoveryMsMax = 2_000
/** The kinds of violations that are shown in full. */
const shownMax = 5

type Of<Kind> = Operation & Kind

/**
 * Returns the violations of the guarantees that docs/operations.md lists under Failover.
 * @param patience factor of the limits of time
 */
export function check(history: History, patience = 1): string[] {
  return [
    checkCoverage,
    checkWrites,
    checkEvents,
    checkChanges,
    checkState,
    checkLimits,
    checkForm,
    checkTimes,
    checkRecovery,
  ].flatMap((checkOne) => shorten(checkOne(history, patience)))
}

function shorten(violations: string[]): string[] {
  const rest = violations.length - shownMax
  return rest > 0 ? [...violations.slice(0, shownMax), `and ${rest} more like the last one`] : violations
}

/** A history without operations would violate nothing. */
function checkCoverage({ operations }: History): string[] {
  const acknowledged = operations.filter(isOk)
  const kinds = (['report', 'incident', 'key'] as const).filter(
    (kind) => ofKind<Write>(acknowledged, kind).length === 0,
  )
  const changes = ofKind<KeyChange>(acknowledged, 'change')
  const unused = transitions.filter((transition) => {
    const changed = changes.filter((change) => change.transition === transition)
    const isUsed = ({ key, endedAt }: (typeof changes)[number]) =>
      ofKind<KeyUse>(operations, 'use').some((use) => use.key === key && use.startedAt > endedAt)
    return !changed.some(isUsed)
  })
  return [
    ...kinds.map((kind) => `not covered: no ${kind} was acknowledged`),
    ...unused.map((transition) => `not covered: no key was used after it was ${transition}`),
  ]
}

/** Acknowledged writes survive, and nothing is written twice. */
function checkWrites({ operations, final }: History): string[] {
  return (['report', 'incident', 'key'] as const).flatMap((kind) => {
    const counts = countBy(final.names[kind], (name) => name)
    const lost = ofKind<Write>(operations, kind)
      .filter((write) => isOk(write) && !counts.has(write.name))
      .map(({ name }) => `lost: the acknowledged ${kind} ${name}`)
    const repeated = [...counts]
      .filter(([, count]) => count > 1)
      .map(([name, count]) => `executed ${count} times: the ${kind} ${name}`)
    return [...lost, ...repeated]
  })
}

/** Changes and their audit events exist together. */
function checkEvents({ final }: History): string[] {
  const changed = new Map(final.changed.map(({ key, transitions }) => [key, transitions]))
  const wrong = final.changeEvents
    .filter(({ key, transition, count }) => {
      return count !== (changed.get(key)?.includes(transition) ? 1 : 0)
    })
    .map(({ key, transition, count }) => {
      const state = changed.get(key)?.includes(transition) ? 'is' : 'is not'
      return `the key ${key} ${state} ${transition}, and has ${count} audit events of that`
    })
  return [...final.unmatched.map((text) => `without its counterpart: ${text}`), ...wrong]
}

/** Acknowledged changes of keys survive. */
function checkChanges({ operations, final }: History): string[] {
  const changed = new Map(final.changed.map(({ key, transitions }) => [key, transitions]))
  return ofKind<KeyChange>(operations, 'change')
    .filter((change) => isOk(change) && !changed.get(change.key)?.includes(change.transition))
    .map(({ key, transition }) => `lost: the key ${key} was acknowledged as ${transition}`)
}

/** A request that starts after an acknowledged change of its key is never judged by the old state. */
function checkState({ operations }: History): string[] {
  const changes = new Map(
    ofKind<KeyChange>(operations, 'change')
      .filter(isOk)
      .map((change) => [change.key, change]),
  )
  return ofKind<KeyUse>(operations, 'use')
    .filter((use) => {
      const change = changes.get(use.key)
      return change && use.startedAt > change.endedAt && isJudgedByOldState(use, change)
    })
    .map(({ key, replica, startedAt, status }) => {
      const change = changes.get(key)
      const ms = Math.round(startedAt - (change?.endedAt ?? 0))
      return `old state: ${ms} ms after the key ${key} was ${change?.transition ?? ''}, replica ${replica} answered ${status ?? 0}`
    })
}

function isJudgedByOldState(use: KeyUse & Operation, { transition }: KeyChange): boolean {
  if (transition === 'limited') return use.seenLimit === use.limit
  return isOk(use) || use.status === 429
}

/**
 * The accepted requests of a key and window stay within the limit, except for one more allowance each time that the
 * counters were emptied.
 */
function checkLimits({ operations, samples }: History): string[] {
  const allowances = Math.max(1, new Set(samples.map(({ server }) => server).filter(Boolean)).size)
  const accepted = ofKind<KeyUse>(operations, 'use').filter((use) => isOk(use) && use.window !== null)
  const limits = new Map(accepted.map((use) => [`${use.key} until ${use.window ?? 0}`, use.limit]))
  const counts = countBy(accepted, (use) => `${use.key} until ${use.window ?? 0}`)
  return [...counts]
    .filter(([window, count]) => count > (limits.get(window) ?? 0) * allowances)
    .map(([window, count]) => {
      return `over the limit: ${count} of ${limits.get(window) ?? 0} were accepted in the window of ${window}`
    })
}

/** All responses are regular ones, or 503 with Retry-After. */
function checkForm(history: History): string[] {
  return history.operations
    .filter((operation) => !isUnavailable(history, operation))
    .flatMap(({ kind, replica, status, irregularity }) => {
      if (irregularity !== null) return [`irregular: ${kind} on replica ${replica}: ${irregularity}`]
      return status === null ? [`no response: ${kind} on replica ${replica}`] : []
    })
}

function checkTimes(history: History, patience: number): string[] {
  return history.operations
    .filter((operation) => !isUnavailable(history, operation))
    .map(({ startedAt, endedAt, ...operation }) => ({ ...operation, ms: endedAt - startedAt }))
    .filter(({ ms }) => ms > responseMsMax * patience)
    .map(({ kind, replica, ms }) => `slow: ${kind} on replica ${replica} took ${Math.round(ms)} ms`)
}

/** Every replica serves again, soon after the cluster accepts writes, and keeps serving. */
function checkRecovery(history: History, patience: number): string[] {
  const { operations } = history
  const replicas = [...new Set(operations.map(({ replica }) => replica))]
  return replicas.flatMap((replica) => {
    const recovered = recoveredAt(history, replica)
    const since = recovered + recoveryMsMax * patience
    const later = operations.filter(
      (operation) => operation.replica === replica && operation.startedAt > since,
    )
    if (!later.some(isOk)) return [`no recovery: replica ${replica} accepted nothing afterwards`]
    return later
      .filter(({ status }) => status === null || status >= 500)
      .map(({ kind, startedAt, status }) => {
        const ms = Math.round(startedAt - recovered)
        return `late recovery: ${kind} on replica ${replica} was ${status ?? 'lost'} ${ms} ms after the cluster`
      })
  })
}

/** When the cluster accepted writes again, and the replica could reach it. */
function recoveredAt(history: History, replica: number): number {
  const concerned = history.fault.replica
  const own = concerned?.index === replica ? concerned.until : 0
  return Math.max(own, clusterRecoveredAt(history))
}

/** The end of the first successful sample after the last failed one, or the fault if none failed. */
export function clusterRecoveredAt({ samples, fault }: Pick<History, 'samples' | 'fault'>): number {
  const lastFailed = samples.findLastIndex(({ server }) => server === null)
  if (lastFailed === -1) return fault.injectedAt
  return samples[lastFailed + 1]?.endedAt ?? Infinity
}

/** True if the request was sent to a replica that the fault had stopped. */
function isUnavailable({ fault }: History, { replica, startedAt, endedAt }: Operation): boolean {
  const stopped = fault.replica
  if (!stopped?.isStopped || stopped.index !== replica) return false
  return startedAt < stopped.until && endedAt > fault.injectedAt
}

export function isOk({ status }: Pick<Operation, 'status'>): boolean {
  return status === 200 || status === 201
}

function ofKind<Kind extends { kind: string }>(operations: Operation[], kind: Kind['kind']): Of<Kind>[] {
  return operations.filter((operation): operation is Of<Kind> => operation.kind === kind)
}

function countBy<Item>(items: Item[], nameOf: (item: Item) => string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(nameOf(item), (counts.get(nameOf(item)) ?? 0) + 1)
  return counts
}
