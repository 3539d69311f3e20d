import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A network link of the test: a TCP proxy that can drop everything, as a network that is cut. */
export type Link = {
  port: number
  /**
   * Drops what is sent from now on, in both directions, without closing a connection. With a text, only on connections
   * whose client sent it first, such as the name of a standby.
   */
  cut: (text?: string) => void
  /** Delivers what was sent meanwhile, as TCP does after a short cut. */
  heal: () => void
  /** Leads new connections to another port, and closes the open ones. */
  redirect: (port: number) => void
  close: () => void
}

type Pair = { client: Socket; upstream: Socket; start: string; isCut: boolean; isOver: boolean }

/** How much of a connection is searched for the text of a cut: PostgreSQL's startup message is among it. */
const startLength = 2_000

export async function startLink(target: number): Promise<Link> {
  let targetPort = target
  let cutText: string | undefined
  const pairs = new Set<Pair>()

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: targetPort, host: '127.0.0.1', noDelay: true })
    const pair = { client, upstream, start: '', isCut: false, isOver: false }
    pairs.add(pair)
    client.on('data', (bytes: Buffer) => {
      if (pair.start.length > startLength) return
      pair.start += bytes.toString('latin1')
      if (isConcerned(pair)) cutPair(pair)
    })
    for (const socket of [client, upstream]) {
      socket.on('error', () => {
        endPair(pair)
      })
      socket.on('close', () => {
        endPair(pair)
      })
    }
    if (isConcerned(pair)) cutPair(pair)
    else joinPair(pair)
  })

  function isConcerned({ start }: Pair): boolean {
    return cutText !== undefined && start.includes(cutText)
  }

  function joinPair(pair: Pair): void {
    pair.isCut = false
    if (pair.isOver) endPair(pair)
    else pair.client.pipe(pair.upstream).pipe(pair.client)
  }

  function cutPair(pair: Pair): void {
    pair.isCut = true
    pair.client.unpipe(pair.upstream).pause()
    pair.upstream.unpipe(pair.client).pause()
  }

  /** The end of a connection is delivered only after a cut, too. */
  function endPair(pair: Pair): void {
    pair.isOver = true
    if (pair.isCut) return
    pairs.delete(pair)
    pair.client.destroy()
    pair.upstream.destroy()
  }

  function heal(): void {
    cutText = undefined
    for (const pair of pairs) if (pair.isCut) joinPair(pair)
  }

  function endAll(): void {
    heal()
    for (const pair of pairs) endPair(pair)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    cut: (text = '') => {
      cutText = text
      for (const pair of pairs) if (isConcerned(pair)) cutPair(pair)
    },
    heal,
    redirect: (port) => {
      targetPort = port
      endAll()
    },
    close: () => {
      server.close()
      endAll()
    },
  }
}
