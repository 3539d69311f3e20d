import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { createGunzip } from 'node:zlib'
import type { Test } from 'tap'

type Value = { stringValue?: string; intValue?: number }
export type Span = {
  traceId: string
  spanId: string
  parentSpanId?: string
  traceState?: string
  name: string
  kind: number
  attributes: { key: string; value: Value }[]
  status: { code: number }
}
type Export = { headers: IncomingHttpHeaders; body: Buffer }

/** Starts an OpenTelemetry collector that records what it receives. `answer` false: it never answers. */
export async function startCollector(t: Test, { answers = true } = {}) {
  const received: Export[] = []
  const pending: (() => void)[] = []
  const server = createServer((request, response) => {
    const { headers } = request
    void buffer(headers['content-encoding'] === 'gzip' ? request.pipe(createGunzip()) : request).then(
      (body) => {
        received.push({ headers, body })
        const answer = () => response.setHeader('content-type', 'application/json').end('{}')
        if (answers) answer()
        else pending.push(answer)
      },
    )
  }).listen({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const parsed = () => received.map(({ body }) => JSON.parse(body.toString()) as Traces)
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    answerAll: () => {
      answers = true
      for (const answer of pending.splice(0)) answer()
    },
    resources: () => parsed().flatMap(({ resourceSpans }) => resourceSpans.map(({ resource }) => resource)),
    spans: () =>
      parsed().flatMap(({ resourceSpans }) =>
        resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
      ),
  }
}

type Traces = {
  resourceSpans: {
    resource: { attributes: Span['attributes'] }
    scopeSpans: { spans: Span[] }[]
  }[]
}

export function attributesOf({
  attributes,
}: Pick<Span, 'attributes'>): Record<string, string | number | undefined> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]))
}
