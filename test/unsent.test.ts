import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import unsent from '../src/http/unsent.ts'
import { waitUntil } from './helper.ts'

const bodyBytes = 16 * 2 ** 20
const requestOf = (address: string) =>
  `GET /own HTTP/1.1\r\nhost: kener.test\r\nx-forwarded-for: ${address}\r\n\r\n`
const request = requestOf('192.0.2.1')

async function start(t: Test, timeoutMs: number, maxClientBytes = 2 * bodyBytes) {
  const app = Fastify({ connectionTimeout: timeoutMs, trustProxy: true })
  app.register(unsent, { maxBytes: 2 * bodyBytes, maxClientBytes })
  const shared = Buffer.alloc(bodyBytes)
  app.get('/own', (_request, reply) => reply.send(Buffer.alloc(bodyBytes)))
  app.get('/shared', (_request, reply) => reply.send(shared))
  app.get('/waiting', () => new Promise(() => undefined))
  const streams: Readable[] = []
  app.get('/stream', (_request, reply) => {
    const stream = Readable.from(Array(3).fill(Buffer.alloc(65_536)))
    streams.push(stream)
    return reply.send(stream)
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  const open = async (text: string) => {
    const socket = await send(app, text)
    t.teardown(() => socket.destroy())
    return socket
  }
  return { app, open, streams }
}

/** Sends a request, and reads nothing. */
async function send(app: FastifyInstance, text: string): Promise<Socket> {
  const { port } = app.server.address() as { port: number }
  const received = once(app.server, 'request')
  const socket = connect({ port, host: '127.0.0.1' }).pause()
  socket.on('error', () => undefined)
  socket.write(text)
  await received
  return socket
}

/** Reads until the connection ends, or all of the response is received. */
async function receive(socket: Socket): Promise<number> {
  let bytes = 0
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length)).resume()
  await waitUntil(() => socket.closed || bytes > bodyBytes)
  return bytes
}

await t.test('beyond the bound of unsent bytes, the oldest response is reset', async (t) => {
  const { open } = await start(t, 0)
  const sockets: Socket[] = []
  for (let count = 0; count < 3; count++) sockets.push(await open(request))
  const received = await Promise.all(sockets.map(receive))
  t.same(
    received.map((bytes) => bytes > bodyBytes),
    [false, true, true],
  )
})

await t.test(
  'responses that share a buffer count once, and pipelined ones are removed with their connection',
  async (t) => {
    const { app, open } = await start(t, 0)
    const sockets: Socket[] = []
    for (let count = 0; count < 3; count++) sockets.push(await open(request.replace('own', 'shared')))
    const received = await Promise.all(sockets.map(receive))
    t.ok(received.every((bytes) => bytes > bodyBytes))

    const pipelined = await open(request.repeat(2))
    pipelined.resetAndDestroy()
    await waitUntil(async () => (await connectionCount(app)) === sockets.length)
    const others = [await open(request), await open(request)]
    t.ok((await Promise.all(others.map(receive))).every((bytes) => bytes > bodyBytes))
  },
)

await t.test(
  'a stream ends with its connection, also behind a pipelined request that is not answered',
  async (t) => {
    const { open, streams } = await start(t, 0)
    const socket = await open(request.replace('own', 'waiting') + request.replace('own', 'stream'))
    await waitUntil(() => streams.length === 1)
    socket.resetAndDestroy()
    await waitUntil(() => streams.every(({ closed }) => closed))
  },
)

await t.test('beyond the bound of one client, its own oldest response is reset', async (t) => {
  const { open } = await start(t, 0, bodyBytes)
  const addresses = ['192.0.2.1', '192.0.2.2', '192.0.2.2']
  const sockets: Socket[] = []
  for (const address of addresses) sockets.push(await open(requestOf(address)))
  const received = await Promise.all(sockets.map(receive))
  t.same(
    received.map((bytes) => bytes > bodyBytes),
    [true, false, true],
  )
})

await t.test('a connection without progress is reset while a response is sent', async (t) => {
  const { app, open } = await start(t, 50)
  const socket = await open(request)
  await waitUntil(async () => (await connectionCount(app)) === 0)
  t.ok((await receive(socket)) < bodyBytes)
})

function connectionCount({ server }: FastifyInstance): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => {
      if (error) reject(error)
      else resolve(count)
    })
  })
}
