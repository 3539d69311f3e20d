import t, { type Test } from 'tap'
import { type Span, startCollector } from '../collector.ts'
import { waitUntil } from '../helper.ts'
import { embeddedDatabase, listening, start } from '../process.ts'

async function startServer(t: Test, endpoint: string, env: Record<string, string>) {
  const server = start(t, 'server', [], {
    DATA_DIR: await embeddedDatabase(t),
    PORT: '0',
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    ...env,
  })
  const origin = await listening(server)
  await fetch(`${origin}/api/me`)
  return server
}

await t.test('the last spans are exported at shutdown, compressed', async (t) => {
  const { endpoint, received, spans } = await startCollector(t)
  const server = await startServer(t, endpoint, {
    OTEL_BSP_SCHEDULE_DELAY: '600000',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
  })
  t.equal(received.length, 0)
  server.child.kill('SIGTERM')
  t.same(await server.ended, { code: 0, signal: null })
  t.match(spans(), [{ name: 'GET /api/me' }] as Partial<Span>[])
})

await t.test('a collector that does not answer does not keep the process', async (t) => {
  const { endpoint, received } = await startCollector(t, { answers: false })
  const server = await startServer(t, endpoint, {
    OTEL_BSP_SCHEDULE_DELAY: '1',
    OTEL_BSP_EXPORT_TIMEOUT: '600000',
    OTEL_EXPORTER_OTLP_TIMEOUT: '600000',
  })
  await waitUntil(() => received.length > 0)
  t.equal(received[0]?.headers['content-type'], 'application/x-protobuf')
  server.child.kill('SIGTERM')
  t.same(await server.ended, { code: 0, signal: null })
  t.match(server.output.stdout, /the last spans could not be exported in time/)
})
