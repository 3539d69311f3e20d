import { hash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import pg from 'pg'

/**
 * The first characters of all keys, session tokens, CSRF tokens and secrets of heartbeat URLs that the tests of this
 * process use, so that truncated secrets are found too, and one pass over a text finds all of them.
 */
const secrets = new Set<string>()
const formTokens = new Set<string>()
const length = 24

const keys = /kener_[0-9A-Za-z]{16}_([0-9A-Za-z]{43})[0-9A-Za-z]{6}/g
// Not one repeated character, which is in the URLs and the tags of random requests.
const heartbeats = /\/ext\/heartbeat\/[^/]+\/(?!(.)\1{42})([0-9A-Za-z]{43})/g
const cookies = /\bkener_(?:manage|log_in)=([\w-]{43})/g
const forms = /name="_csrf" value="([^"]+)"/g
/** Texts that can contain a secret: base62, base64 or base64url. */
const runs = /[\w+/-]{24,}/g

export function recordKeys(text: string): void {
  for (const [, secret = ''] of text.matchAll(keys)) record(secrets, secret)
  for (const [, , secret = ''] of text.matchAll(heartbeats)) record(secrets, secret)
}

function recordCookies(text: string): void {
  for (const [, token = ''] of text.matchAll(cookies)) {
    record(secrets, token)
    record(secrets, hash('sha256', `csrf ${token}`, 'base64'))
  }
}

function record(into: Set<string>, secret: string): void {
  const start = secret.slice(0, length)
  into.add(start)
  beginnings[hashBeginning(start, 0)] = 1
}

/**
 * Marks the hashes of the first three characters of secrets. Skips most of a text without creating a substring for each
 * of its characters.
 */
const beginnings = new Uint8Array(1 << 21)

function hashBeginning(text: string, at: number): number {
  return (text.charCodeAt(at) << 14) | (text.charCodeAt(at + 1) << 7) | text.charCodeAt(at + 2)
}

/** Throws if the text contains a secret. @param where completes the sentence "A secret is in ..." */
export function assertNoSecret(text: string, where: string, sets = [secrets, formTokens]): void {
  for (const { 0: run, index } of text.matchAll(runs)) {
    for (let place = 0; place + length <= run.length; place++) {
      if (beginnings[hashBeginning(run, place)] === 0) continue
      const candidate = run.slice(place, place + length)
      if (!sets.some((set) => set.has(candidate))) continue
      throw new Error(`A secret is in ${where}: ${text.slice(Math.max(0, index - 200), index + 100)}`)
    }
  }
}

/** Records the secrets in requests and responses. `sweep` checks the error responses. */
export function watchReplies(app: FastifyInstance): { sweep: () => void } {
  const errorReplies: string[] = []
  app.addHook('onRequest', (request, _reply, next) => {
    recordKeys(request.headers.authorization ?? '')
    recordKeys(request.url)
    next()
  })
  app.addHook('onSend', (_request, reply, payload, next) => {
    recordCookies(String(reply.getHeader('set-cookie') ?? ''))
    if (typeof payload === 'string') {
      if (reply.statusCode >= 400) errorReplies.push(payload)
      else recordKeys(payload)
      for (const [, token = ''] of payload.matchAll(forms)) record(formTokens, token)
    }
    next()
  })
  return {
    sweep: () => {
      // A page about an invalid form contains the form again, with its token.
      for (const failure of errorReplies) assertNoSecret(failure, 'an error response', [secrets])
    },
  }
}

/** Checks every row of every table. */
export async function sweepDatabase(connectionString: string): Promise<void> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables
       where schemaname not in ('pg_catalog', 'information_schema')`,
    )
    // One statement, because this runs after each test.
    const selects = tables.map(({ name }) => `select string_agg(t::text, E'\\n') as text from ${name} t`)
    const { rows } = await client.query<{ text: string | null }>(selects.join(' union all '))
    for (const [index, { text }] of rows.entries()) {
      assertNoSecret(text ?? '', `the table ${tables[index]?.name ?? ''}`)
    }
  } finally {
    await client.end()
  }
}
