import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import negotiate from '@fastify/accept-negotiator'
import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import pLimit from 'p-limit'
import { shareConnections } from '../database/open.ts'
import { matchesEtag } from '../wire/etag.ts'
import { createSharedTexts, type Text } from './shared-texts.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Set by publicOutput. */
    isPublicOutput?: boolean
    /** True for a GET route that writes. By default, only the safe methods of RFC 9110, section 9.2.1, write nothing. */
    isWrite?: boolean
  }
  interface FastifyInstance {
    /**
     * Returns a handler of requests for public output: the text of a key, compressed if the client accepts that, with an
     * ETag. Concurrent requests for a key share one computation, and its text is reused as createSharedTexts describes.
     * Few computations run at the same time, so that many public readers leave connections to the callers with a key: a
     * computation runs its statements one after the other.
     * The text must depend on nothing but the key and what the database contains, and a key must not contain more of the
     * request than the text depends on. The route needs the config publicOutput.
     */
    sharePublicOutput: (
      compute: (key: string) => Promise<Buffer>,
      options?: {
        /** Content-Type of the text. */
        type?: string
        /** Total size of the texts of this handler that are kept. */
        maxBytes?: number
      },
    ) => (request: FastifyRequest, reply: FastifyReply, key?: string) => Promise<never>
  }
}

/**
 * Config of a route that every web page may read: all its responses have CORS headers, it has a preflight, and unknown
 * query fields are ignored (validation.ts).
 */
export const publicOutput = { permission: 'public', isPublicOutput: true } as const

/** Methods that write nothing: RFC 9110, section 9.2.1. */
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Smaller texts fit into one packet anyway. */
const minCompressedBytes = 1_024

/** The preferred encoding first. Default qualities: brotli's would take 100 times as long, for a tenth less. */
const compressors = {
  br: (body: Buffer) => promisify(brotliCompress)(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }),
  gzip: (body: Buffer) => promisify(gzip)(body),
}

/** Serves what every client may read and what is the same for all of them. Nothing that needs a key is kept. */
export default fp(
  (app, _options, done) => {
    /** Number of writes that were answered. */
    let writes = 0
    const countWrite: onSendHookHandler = (_request, { statusCode }, _payload, next) => {
      // A write that failed with 5xx may have been committed.
      if (statusCode < 400 || statusCode >= 500) writes++
      next()
    }
    app.addHook('onRoute', function (route) {
      const isSafe = [route.method].flat().every((method) => safeMethods.has(method))
      if (!isSafe || route.config?.isWrite) addOnSend(route, countWrite)
      if (!route.config?.isPublicOutput) return
      addOnSend(route, allowAnyOrigin)
      if (route.method === 'GET') addPreflight(this, route)
    })

    // The links in a text depend on these headers: see site-url.ts.
    const { siteUrl, trustProxy } = app.config
    const isForwarded = siteUrl === undefined && trustProxy !== false
    const vary = isForwarded ? 'accept-encoding, x-forwarded-host, x-forwarded-proto' : 'accept-encoding'

    const { databaseUrl, databasePoolMax } = app.config
    const connections = databaseUrl === undefined ? 1 : shareConnections(databasePoolMax).main
    const limit = pLimit(Math.ceil(connections / 3))

    app.decorate('sharePublicOutput', (compute, options = {}) => {
      const { type = 'application/json; charset=utf-8', maxBytes = 2_097_152 } = options
      const readText = createSharedTexts(
        (key) => limit(compute, key),
        () => writes,
        maxBytes,
      )

      return async (request, reply, key = '') => {
        const text = await readText(key)
        const encoding = chooseEncoding(text, request)
        // A strong ETag identifies the encoded bytes (RFC 9110, section 8.8.3.3).
        const etag = encoding ? `"${text.digest}-${encoding}"` : `"${text.digest}"`
        reply.headers({ etag, vary, 'cache-control': 'public, max-age=30' })
        // Sent here, because a body of null is serialized, and undefined means that the response follows.
        if (matchesEtag(request.headers['if-none-match'], etag)) return reply.code(304).send() as never
        // Returned, because Fastify waits for the end of a response whose reply is returned.
        reply.type(type)
        if (!encoding) return text.body as never
        reply.header('content-encoding', encoding)
        return (await encode(text, encoding)) as never
      }
    })
    done()
  },
  { name: 'public-output' },
)

function addOnSend(route: RouteOptions, hook: onSendHookHandler): void {
  route.onSend = [...[route.onSend ?? []].flat(), hook]
}

/** On every response of a route, also on errors, because a page could otherwise not read why it failed. */
const allowAnyOrigin: onSendHookHandler = (_request, reply, _payload, next) => {
  reply.headers({
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'ETag, Retry-After, X-Request-Id',
  })
  next()
}

/** Browsers ask before they send a header such as If-None-Match. The answer is fixed, so that it counts as no request. */
function addPreflight(
  scope: FastifyInstance,
  { routePath, config }: RouteOptions & { routePath: string },
): void {
  scope.options(
    // With a prefix, the route / is also registered without the slash.
    routePath || '/',
    {
      config: { ...config, isUnlimited: true },
      schema: { hide: true, operationId: 'preflight', summary: 'Allow any origin' },
    },
    (_request, reply) =>
      reply
        .code(204)
        .headers({
          'access-control-allow-methods': 'GET, HEAD, OPTIONS',
          'access-control-allow-headers': 'If-None-Match',
          'access-control-max-age': '86400',
        })
        .send(),
  )
}

type Encoding = keyof typeof compressors

function chooseEncoding({ body }: Text, { headers }: FastifyRequest): Encoding | null {
  if (body.length < minCompressedBytes) return null
  return negotiate(headers['accept-encoding'] ?? '', Object.keys(compressors)) as Encoding | null
}

/** Compresses a text once for all clients. */
function encode({ body, encoded }: Text, encoding: Encoding): Promise<Buffer> {
  let result = encoded.get(encoding)
  if (!result) {
    result = compressors[encoding](body)
    encoded.set(encoding, result)
  }
  return result
}
