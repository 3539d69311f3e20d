import { Agent, type IncomingHttpHeaders, request } from 'node:http'

export type Answer = { status: number; headers: IncomingHttpHeaders; body: string }

type Ask = {
  key?: string
  method?: string
  body?: unknown
  headers?: Record<string, string>
  agent?: Agent
  signal?: AbortSignal
}

/**
 * Sends a request and reads the complete response. A lost request is an error; fetch is not used, because it may retry.
 */
export function ask(
  url: string,
  { key, method = 'GET', body, headers: more, agent, signal }: Ask = {},
): Promise<Answer> {
  const payload = body === undefined ? undefined : JSON.stringify(body)
  const headers = {
    ...more,
    ...(key !== undefined && { authorization: `Bearer ${key}` }),
    ...(payload !== undefined && {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(payload),
    }),
  }
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method, headers, ...(agent && { agent }), ...(signal && { signal }) },
      (reply) => {
        const chunks: Buffer[] = []
        reply.on('data', (chunk: Buffer) => chunks.push(chunk))
        reply.on('error', reject)
        reply.on('end', () => {
          resolve({
            status: reply.statusCode ?? 0,
            headers: reply.headers,
            body: Buffer.concat(chunks).toString(),
          })
        })
      },
    )
    sent.on('error', reject)
    sent.end(payload)
  })
}

/** Returns an agent with one connection, which it keeps until the server closes it. */
export function keepAlive(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 })
}
