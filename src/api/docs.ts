import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import negotiate from '@fastify/accept-negotiator'
import staticFiles from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { securePages } from '../http/page-security.ts'
import { siteUrl } from '../http/site-url.ts'

/** Written by scripts/build-assets.js, each file but llms.txt also as .br and .gz. */
const files = join(import.meta.dirname, '../docs')

/**
 * Serves the description of the API as JSON at /openapi.json, and as interactive documentation at /docs; the pages of the
 * documentation as Markdown at /docs/NAME.md, and a list of them for language models at /llms.txt (https://llmstxt.org).
 */
export default async function routes(app: FastifyInstance) {
  app.addHook('onRequest', app.limitRate)
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, hide: true }
  })
  // Swagger UI reads /openapi.json, and its style sheet contains images as data URLs.
  securePages(app, {
    imgSrc: ["'self'", 'data:'],
    connectSrc: ["'self'"],
    formAction: ["'none'"],
  })
  await app.register(staticFiles, {
    root: files,
    prefix: '/docs/',
    preCompressed: true,
    // Registers one route per file, so that other paths reach the not-found handler.
    wildcard: false,
    globIgnore: ['*.br', '*.gz', 'llms.txt'],
    cacheControl: false,
    setHeaders: (reply, path) => {
      // All other names contain a hash of the content.
      const isPage = /^(index\.html|[a-z-]+\.md)(\.|$)/.test(basename(path))
      reply.setHeader('cache-control', isPage ? 'no-cache' : 'public, max-age=31536000, immutable')
      reply.setHeader('vary', 'accept-encoding')
    },
  })

  let list: string | undefined

  app.get('/llms.txt', (request, reply) => {
    list ??= readFileSync(join(files, 'llms.txt'), 'utf8')
    const text = list.replaceAll('](/', `](${siteUrl(request)}/`)
    const etag = `"${hash('sha256', text)}"`
    reply.type('text/markdown; charset=utf-8').headers({ 'cache-control': 'no-cache', etag })
    return request.headers['if-none-match'] === etag ? reply.code(304).send() : reply.send(text)
  })

  let description: ReturnType<typeof encode> | undefined

  app.get('/openapi.json', (request, reply) => {
    // Encoded on the first request, because routes registered after this one are described too.
    description ??= encode(app.swagger())
    reply.type('application/json; charset=utf-8')
    reply.headers({
      'cache-control': 'public, max-age=30',
      vary: 'accept-encoding',
      etag: description.etag,
    })
    if (request.headers['if-none-match'] === description.etag) return reply.code(304).send()
    const isGzip = negotiate(request.headers['accept-encoding'] ?? '', ['gzip']) === 'gzip'
    if (!isGzip) return reply.send(description.json)
    return reply.header('content-encoding', 'gzip').send(description.gzip)
  })
}

function encode(document: object) {
  const json = JSON.stringify(document)
  // Weak, because it is the same for both encodings.
  return { json, gzip: gzipSync(json), etag: `W/"${hash('sha256', json)}"` }
}
