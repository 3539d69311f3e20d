import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { batch, waitForMore } from '../database/batch.ts'
import { createLimits } from './concurrency.ts'
import { scopeOf } from './permission-guard.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Returns the response body, the JSON that `read` returns. It is `never`, which fits the schema of every route. Concurrent
     * requests with the same URL, of keys with the same monitors, share a read and its text, but no request joins a read that
     * has started, so that a response is never older than its request. The JSON must depend on nothing else. The route must
     * have the config `sharesStatements`.
     * @param options.isBatched true if `read` uses batchPages
     * @throws ApiError 503
     */
    shareRead: (
      request: FastifyRequest,
      reply: FastifyReply,
      read: () => Promise<string>,
      options: { isBatched: boolean },
    ) => Promise<never>
  }
}

/**
 * Pages of a list that share a statement. With one page per statement, the server and PostgreSQL take half as long again
 * for each, because requests then also arrive one by one.
 */
const pagesPerStatement = 8

/** Pages of a key in flight: those of a statement, and as many for the next one. */
const pagesPerKey = 2 * pagesPerStatement

/** Reads different pages of a list in one statement. */
export function batchPages<Page, Result>(read: (pages: Page[]) => Promise<Result[]>) {
  return batch(read, pagesPerStatement)
}

type Read = { hasStarted: boolean; requests: number; text: Promise<Buffer> }

/**
 * Shares reads. A read takes a turn of the key of its first request, before others can join it, so that no request waits
 * for the turn of another key. Until the previous read of the URL ends, it waits for more requests.
 */
export default fp(
  (app, _options, done) => {
    /** The latest read of each URL and set of monitors, until it ends. */
    const reads = new Map<string, Read>()
    const pageLimits = createLimits(pagesPerKey)

    function start(key: string, read: () => Promise<string>, endTurn: (error?: unknown) => void): Read {
      const previous = reads.get(key)
      const next: Read = { hasStarted: false, requests: 1, text: run() }
      reads.set(key, next)
      return next

      async function run(): Promise<Buffer> {
        try {
          await previous?.text.catch(() => undefined)
          await waitForMore(() => next.requests)
          next.hasStarted = true
          const text = Buffer.from(await read())
          endTurn()
          return text
        } catch (error) {
          endTurn(error)
          throw error
        } finally {
          if (reads.get(key) === next) reads.delete(key)
        }
      }
    }

    function join(key: string): Promise<Buffer> | undefined {
      const latest = reads.get(key)
      if (!latest || latest.hasStarted) return undefined
      latest.requests++
      return latest.text
    }

    const shareRead: FastifyInstance['shareRead'] = async (request, reply, read, { isBatched }) => {
      const key = `${JSON.stringify(scopeOf(request))} ${request.url}`
      const text = await (join(key) ??
        new Promise<Buffer>((resolve, reject) => {
          const turn = {
            start: (endTurn: (error?: unknown) => void) => {
              const joined = join(key)
              if (joined) endTurn()
              resolve(joined ?? start(key, read, endTurn).text)
            },
            reject,
          }
          app.takeTurn(request, reply, turn, isBatched ? pageLimits : undefined)
        }))
      void reply.type('application/json; charset=utf-8')
      return text as never
    }

    app.decorate('shareRead', shareRead)
    done()
  },
  { name: 'shared-reads', dependencies: ['concurrency'] },
)
