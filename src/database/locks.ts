import { setTimeout as delay } from 'node:timers/promises'
import { isRerunnable } from './failures.ts'

/**
 * Longest wait for a lock on a connection. Longer waits happen in memory, because a transaction that waits for another
 * caller's lock would keep a connection from the other callers. Shorter for admission, whose statements serve many
 * callers.
 */
export const lockTimeouts = { mainMs: 100, admissionMs: 20 }

/**
 * Returns the pause before the next try to lock a row. It is random, so that several replicas do not try at the same
 * moments, and grows with the number of tries.
 */
export function lockPauseMs(tries: number): number {
  return Math.min(5 * 2 ** tries, 100) * (0.5 + Math.random())
}

/**
 * Runs `attempt` again, after a pause, while a lock that it needs is held by another transaction.
 * @param isLocked returns true if the result says that a lock was skipped. An error of lock_timeout or of a deadlock always
 *   counts.
 * @returns the result, or the last one if `maxWaitMs` have passed. @throws the last error if they have passed
 */
export async function retryWhileLocked<Result>(
  attempt: () => Promise<Result>,
  maxWaitMs: number,
  isLocked: (result: Result) => boolean = () => false,
): Promise<Result> {
  const deadline = performance.now() + maxWaitMs
  for (let tries = 0; ; tries++) {
    try {
      const result = await attempt()
      if (!isLocked(result) || performance.now() > deadline) return result
    } catch (error) {
      if (!isRerunnable(error) || performance.now() > deadline) throw error
    }
    await delay(lockPauseMs(tries))
  }
}
