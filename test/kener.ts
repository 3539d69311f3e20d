import type { Test } from 'tap'
import { newKey, type Replica } from './helper.ts'
import { createKenerClient, KenerError } from './kener-client.ts'

/** Creates an admin key, and a Kener client that uses it. */
export async function start(
  replica: Replica,
): Promise<Replica & { key: string; kener: ReturnType<typeof createKenerClient> }> {
  const { token } = await newKey(replica)
  return { ...replica, key: token, kener: createKenerClient(replica, token) }
}

/** Returns the start of the current minute, in seconds since 1970. */
export const thisMinute = () => Math.floor(Date.now() / 60_000) * 60

/** 2026-01-01, in seconds since 1970. */
export const newYear = Date.UTC(2026, 0, 1) / 1000

/** One hour, in seconds. */
export const hour = 3_600

/** Kener's rule of a maintenance that occurs once. */
export const once = 'FREQ=MINUTELY;COUNT=1'

/** Checks that a call of the Kener client is rejected. */
export async function fails(
  t: Test,
  response: Promise<unknown>,
  status: number,
  code: string,
  name: string,
): Promise<void> {
  const error = await response.then(
    () => undefined,
    (error: unknown) => error,
  )
  t.ok(error instanceof KenerError, `${name}: is rejected (${String(error)})`)
  t.match(error, { status, code }, name)
}
