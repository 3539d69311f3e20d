import { type ErrorDetail, keyNotFound } from '../errors.ts'
import { isKeyId, parseToken } from '../keys/token.ts'
import { OperatorError } from '../operator-error.ts'
import { quote } from '../terminal.ts'
import type { AuditEventObject } from '../wire/audit.ts'
import { describeFetchError } from '../wire/http-client.ts'
import type { KeyObject, NewKeyObject } from '../wire/keys.ts'
import { formatTime } from '../wire/time.ts'
import { toFailure } from './key-options.ts'
import type { Backend } from './backend.ts'

type Success<Data> = { success: true; data: Data; pagination: { next_cursor: string | null } }
type Failure = { success: false; error: { message: string; details?: ErrorDetail[] } }

/**
 * A running server, through its API.
 * @param url a result of parseBaseUrl
 * @param apiKey a key with the permission admin
 * @param timeoutMs longest time for one response including its body, in milliseconds
 */
export function connectToServer(url: string, apiKey: string, timeoutMs = 30_000): Backend {
  let token = apiKey

  return {
    now: async () => (await send<object>('GET', '/me')).at,

    create: async ({ expires_at, ...attributes }) => {
      const body = { ...attributes, expires_at: expires_at && formatTime(expires_at) }
      return (await send<NewKeyObject>('POST', '/keys', body)).data
    },

    list: async (status) => {
      const keys: KeyObject[] = []
      for (let cursor: string | null | undefined; cursor !== null;) {
        const query = new URLSearchParams({
          limit: '100',
          ...(status !== undefined && { status }),
          ...(cursor !== undefined && { cursor }),
        })
        const { data, pagination } = await send<KeyObject[]>('GET', `/keys?${query.toString()}`)
        keys.push(...data)
        cursor = pagination.next_cursor
      }
      return keys
    },

    show: async (id) => (await send<KeyObject>('GET', toPath(id))).data,

    rotate: async (id, { overlapSeconds, expiresAt }) => {
      const body = { overlap_seconds: overlapSeconds, expires_at: expiresAt && formatTime(expiresAt) }
      const { data } = await send<NewKeyObject>('POST', `${toPath(id)}/rotate`, body)
      // A key that rotates itself may be expired now.
      if (id === parseToken(token)?.id) token = data.key
      return data
    },

    revoke: async (id) => (await send<KeyObject>('POST', `${toPath(id)}/revoke`)).data,

    async *auditEvents(since) {
      for (let cursor: string | null | undefined; cursor !== null;) {
        const query = new URLSearchParams({
          limit: '100',
          ...(since && { from: formatTime(since) }),
          ...(cursor !== undefined && { cursor }),
        })
        const { data, pagination } = await send<AuditEventObject[]>('GET', `/audit?${query.toString()}`)
        yield data
        cursor = pagination.next_cursor
      }
    },
  }

  async function send<Data>(
    method: 'GET' | 'POST',
    path: string,
    body?: object,
  ): Promise<Success<Data> & { at: Date }> {
    const { status, headers, text } = await request(method, path, body)
    const reply = parseReply(text)
    if (!reply) {
      const location = headers.get('location')
      const response = location === null ? `status ${status}` : `a redirect to ${quote(location)}`
      throw new OperatorError(`${url} did not respond as this service does (${response}): check the URL`)
    }
    if (reply.success) {
      return { ...(reply as Success<Data>), at: new Date(headers.get('date') ?? Date.now()) }
    }
    const { message, details } = reply.error
    if (status === 401 || status === 403) {
      throw new OperatorError(`${url} rejected the key in KENER_API_KEY: ${message}`)
    }
    throw toFailure({ message, details })
  }

  async function request(method: string, path: string, body?: object) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const options = {
      method,
      headers,
      body: body ? JSON.stringify(body) : null,
      // The key is not sent to another server.
      redirect: 'manual' as const,
      signal: AbortSignal.timeout(timeoutMs),
    }
    try {
      const response = await fetch(`${url}/api${path}`, options)
      return { status: response.status, headers: response.headers, text: await response.text() }
    } catch (error) {
      const reason = describeFetchError(error)
      if (reason === undefined) throw error
      const advice = method === 'GET' ? '' : '. If the server made the change, keys list shows it.'
      throw new OperatorError(`${url} ${reason}${advice}`)
    }
  }
}

/** @throws OperatorError for a text that is not the id of a key, because `.` and others are parts of another path */
function toPath(id: string): string {
  if (!isKeyId(id)) throw toFailure(keyNotFound())
  return `/keys/${id}`
}

/** Returns undefined if the text is not the body of a response of this service. */
function parseReply(text: string): Success<unknown> | Failure | undefined {
  let reply: Partial<Success<unknown> | Failure> | null
  try {
    reply = JSON.parse(text) as typeof reply
  } catch {
    return undefined
  }
  if (reply?.success === true && typeof reply.data === 'object') return reply as Success<unknown>
  return reply?.success === false && typeof reply.error?.message === 'string' ? (reply as Failure) : undefined
}
