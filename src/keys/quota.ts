import { setTimeout as delay } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { batch } from '../database/batch.ts'
import { isRerunnable } from '../database/failures.ts'
import { lockPauseMs, retryWhileLocked } from '../database/locks.ts'
import type { Tables } from '../database/schema.ts'
import { rowLocked } from '../errors.ts'
import { isAddressAllowed } from './allowed-ips.ts'
import {
  insertCounters,
  type KeyWithStatus,
  type Obstacle,
  type ResultRow,
  selectAndIncrement,
  selectAndIncrementUnlocked,
} from './counters.ts'
import { type LastUse, touchKeys } from './authentication.ts'

/** The rate limit of a key after a request. Windows start on the full minute of the database's clock. */
export type Quota = {
  /** Requests per window. */
  limit: number
  /** Requests left in the window after this one. */
  remaining: number
  /** End of the window: a Unix timestamp, in seconds. */
  reset: number
  /** Seconds until the end of the window, at least 1. */
  secondsLeft: number
  /** False if this request exceeds the limit. */
  isAllowed: boolean
}

type KeyWithQuota = { key: KeyWithStatus; quota: Quota }

/** Result of a request from an address that is not among `allowed_ips` of its key. It consumed no quota. */
type DeniedAddress = { key: KeyWithStatus; quota: null }

/** Returns the address of the client. Called only if it is needed, because most requests do not need it. */
type AddressOf = () => string

/** Without `addressOf`, the request is not counted. */
type Item = { id: string; addressOf: AddressOf | undefined }

/** An item whose counter was locked before. */
type Retry = Item & { deadline?: number; tries?: number }

type Result = KeyWithQuota | undefined

type Databases = { db: Kysely<Tables>; admissionDb: Kysely<Tables>; maxLockWaitMs: number }

/**
 * Reads keys and counts requests, with one statement for concurrent requests. Nothing is cached: each request sees the
 * key as it is in PostgreSQL after the request started.
 *
 * The statement waits for a counter that another transaction has locked, until lock_timeout. Then all its requests are
 * submitted in a statement that skips locked counters. Requests of a key whose counter was skipped use only this
 * statement, until it finds the counter unlocked, so that requests of other keys never wait for it.
 */
export function createKeyQuotas(
  { db, admissionDb, maxLockWaitMs }: Databases,
  { rateLimitMax, onError }: { rateLimitMax: number; onError: (error: unknown) => void },
) {
  /** Ids of the keys whose counters were skipped. */
  const contended = new Set<string>()

  const touchLastUsed = batch(async (uses: LastUse[]) => {
    await touchKeys(db, uses)
    return uses
  })

  const createCounter = batch(async (ids: string[]) => {
    await insertCounters(admissionDb, [[...new Set(ids)].sort()])
    return ids
  })

  const submitUnchecked = createSubmit(false)
  const submitChecked = createSubmit(true)

  /** @param isAddressChecked whether the items may also be counted for keys with `allowed_ips` */
  function createSubmit(isAddressChecked: boolean): (item: Item) => Promise<Result> {
    const submit = batch<Item, Result>(async (items) => {
      try {
        return allocate(items, await execute(selectAndIncrement, items))
      } catch (error) {
        if (!isRerunnable(error)) throw error
        return submitUnlocked(items)
      }
    })

    const submitContended = batch<Retry, Result>(submitUnlocked)

    async function submitUnlocked(items: Retry[]): Promise<(Result | Promise<Result>)[]> {
      // Waits only for locks of whole tables, such as those of migrations, for which all requests wait.
      const row = await retryWhileLocked(() => execute(selectAndIncrementUnlocked, items), maxLockWaitMs)
      const obstacles = new Map<string, Obstacle>()
      for (const { id, obstacle } of row.keys) {
        if (obstacle) obstacles.set(id, obstacle)
        if (obstacle) contended.add(id)
        else contended.delete(id)
      }
      const results = allocate(items, row)
      return items.map((item, index) => {
        const obstacle = item.addressOf ? obstacles.get(item.id) : undefined
        return obstacle ? submitLater(item, obstacle) : results[index]
      })
    }

    /** Submits an item again when its counter may be unlocked. @throws ApiError 503 after maxLockWaitMs */
    async function submitLater(item: Retry, obstacle: Obstacle): Promise<Result> {
      const { deadline = performance.now() + maxLockWaitMs, tries = 0 } = item
      if (performance.now() > deadline) throw rowLocked()
      if (obstacle === 'missing') {
        await createCounter(item.id).catch((error: unknown) => {
          if (!isRerunnable(error)) throw error
        })
      }
      await delay(lockPauseMs(tries))
      return submitContended({ ...item, deadline, tries: tries + 1 })
    }

    async function execute(statement: typeof selectAndIncrement, items: Item[]): Promise<ResultRow> {
      const counts = new Map<string, number>()
      for (const { id, addressOf } of items) counts.set(id, (counts.get(id) ?? 0) + (addressOf ? 1 : 0))
      const [row] = await statement(admissionDb, [
        [...counts.keys()],
        [...counts.values()],
        rateLimitMax,
        isAddressChecked,
      ])
      if (!row) throw new Error('A query without FROM has one row')
      for (const { id, status, allowed_ips, is_last_used_stale } of row.keys) {
        if (!is_last_used_stale || status !== 'active' || (allowed_ips && !isAddressChecked)) continue
        const addressOf = items.findLast((item) => item.id === id)?.addressOf
        if (addressOf) touchLastUsed({ id, address: addressOf() }).catch(onError)
      }
      return row
    }

    return (item) => (item.addressOf && contended.has(item.id) ? submitContended(item) : submit(item))
  }

  return {
    /** Reads the key without counting a request. */
    peek: async (id: string): Promise<KeyWithStatus | undefined> =>
      (await submitUnchecked({ id, addressOf: undefined }))?.key,
    /**
     * Reads the key and, if it is active and may be used from this address, counts this request. A key with `allowed_ips`
     * takes a second statement.
     */
    consume: async (id: string, addressOf: AddressOf): Promise<Result | DeniedAddress> => {
      const result = await submitUnchecked({ id, addressOf })
      if (!result || result.key.allowed_ips === null || result.key.status !== 'active') return result
      if (!isAddressAllowed(result.key.allowed_ips, addressOf())) return { key: result.key, quota: null }
      return submitChecked({ id, addressOf })
    },
  }
}

/** Allocates the granted requests to the items in their order. */
function allocate(items: Item[], { keys, now }: ResultRow): Result[] {
  const rows = new Map(
    keys.map((row) => {
      // Field by field, because rest and spread take longer than the rest of this function.
      const key: KeyWithStatus = {
        id: row.id,
        name: row.name,
        description: row.description,
        permissions: row.permissions,
        rate_limit: row.rate_limit,
        monitors: row.monitors,
        allowed_ips: row.allowed_ips,
        status: row.status,
        expires_at: row.expires_at === null ? null : new Date(row.expires_at),
        created_at: new Date(row.created_at),
        last_used_at: row.last_used_at === null ? null : new Date(row.last_used_at),
      }
      const { max, used, granted, minute } = row
      const counter = { max, used: used ?? max, granted: granted ?? 0, minute }
      return [key.id, { key, counter, position: 0 }]
    }),
  )
  return items.map(({ id, addressOf }) => {
    const row = rows.get(id)
    if (!row) return undefined
    if (addressOf) row.position++
    const { key, counter, position } = row
    const used = counter.used - Math.max(0, counter.granted - position)
    const reset = (counter.minute + 1) * 60
    const quota = {
      limit: counter.max,
      remaining: Math.max(0, counter.max - used),
      reset,
      secondsLeft: Math.max(1, Math.ceil(reset - now)),
      isAllowed: position <= counter.granted,
    }
    return { key, quota }
  })
}
