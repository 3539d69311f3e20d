/**
 * The responses to clients during a fault, and the contents of the database afterwards. Times are those of performance.now(), in
 * ms.
 */
export type History = {
  operations: Operation[]
  /** Whether the cluster accepted writes, without the service. */
  samples: Sample[]
  fault: Fault
  final: Final
}

/** One write to the cluster through HAProxy. */
export type Sample = {
  startedAt: number
  endedAt: number
  /** Timeline and start of the server: a new value means that UNLOGGED tables were emptied. Null: the write failed. */
  server: string | null
}

export type Fault = {
  injectedAt: number
  /** A replica that the fault itself concerns, until then. If it is stopped, its responses may be lost. */
  replica?: { index: number; until: number; isStopped: boolean }
}

export type Operation = {
  /** Index of the replica. */
  replica: number
  startedAt: number
  endedAt: number
  /** Null: the response was lost, or did not arrive in time. */
  status: number | null
  /** Why the form of the response is invalid. */
  irregularity: string | null
} & (Write | KeyChange | KeyUse)

/** A write with an Idempotency-Key. The same one is repeated until it is acknowledged. */
export type Write = {
  kind: 'report' | 'incident' | 'key'
  /** Unique: the title of an incident, the name of a key, or the minute and latency of a report. */
  name: string
}

export const transitions = ['revoked', 'narrowed', 'expired', 'limited'] as const
export type Transition = (typeof transitions)[number]

export type KeyChange = { kind: 'change'; key: string; transition: Transition }

/** A request with a key whose limit is `limit` in its original state. */
export type KeyUse = {
  kind: 'use'
  key: string
  limit: number
  /** X-RateLimit-Limit and X-RateLimit-Reset. */
  seenLimit: number | null
  window: number | null
}

export type Final = {
  /** The names of all reports, incidents and keys. */
  names: Record<Write['kind'], string[]>
  /** The keys of the clients that change keys. */
  changed: { key: string; transitions: Transition[] }[]
  /** Resources without the audit event of their creation, and events without their resource, by name. */
  unmatched: string[]
  /** The number of audit events of each change of a key. */
  changeEvents: { key: string; transition: Transition; count: number }[]
}
