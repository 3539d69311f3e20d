import { rowLocked } from '../errors.ts'

/** Longest wait of a write for the other writes about its monitor. */
const maxWaitMs = 10_000

type Turn = {
  isShared: boolean
  /** Writes of this turn that are waiting or running. */
  members: number
  hasStarted: boolean
  started: Promise<void>
  ended: Promise<void>
  end: () => void
}

export type Write<Result> = {
  work: () => Promise<Result>
  /** True for a write that may run together with other shared ones about the same monitor. */
  isShared: boolean
  /** True if the result is no longer needed. */
  isCancelled: () => boolean
}

/**
 * Runs writes about the same monitor one after the other, in the order of their calls, so that a write waits in memory
 * for the earlier ones, and not on a connection for the lock of a row. Shared writes that follow one another run
 * together.
 */
export function createTurns() {
  const latest = new Map<string, Turn>()

  /** @throws ApiError 503 after maxWaitMs */
  return async function inTurn<Result>(
    tag: string,
    { work, isShared, isCancelled }: Write<Result>,
  ): Promise<Result | undefined> {
    const turn = join(latest, tag, isShared)
    try {
      if (!turn.hasStarted) await startOf(turn)
      return isCancelled() ? undefined : await work()
    } finally {
      if (--turn.members === 0) turn.end()
    }
  }
}

function join(latest: Map<string, Turn>, tag: string, isShared: boolean): Turn {
  const previous = latest.get(tag)
  if (previous?.isShared && isShared && previous.members > 0) {
    previous.members++
    return previous
  }
  const turn = createTurn(previous, isShared)
  latest.set(tag, turn)
  void turn.ended.then(() => {
    if (latest.get(tag) === turn) latest.delete(tag)
  })
  return turn
}

function createTurn(previous: Turn | undefined, isShared: boolean): Turn {
  let end: () => void = () => undefined
  const finished = new Promise<void>((resolve) => (end = resolve))
  const started = previous?.ended ?? Promise.resolve()
  const turn: Turn = {
    isShared,
    members: 1,
    hasStarted: previous === undefined,
    started,
    // A turn that all members left before its start ends with the previous one.
    ended: started.then(() => finished),
    end,
  }
  void started.then(() => (turn.hasStarted = true))
  return turn
}

async function startOf({ started }: Turn): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(rowLocked())
    }, maxWaitMs)
  })
  await Promise.race([started, expired]).finally(() => {
    clearTimeout(timer)
  })
}
