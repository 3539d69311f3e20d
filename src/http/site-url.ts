import type { FastifyRequest } from 'fastify'
import { invalidHost } from '../errors.ts'

/** A name or an address, with an optional port. Nothing else becomes part of a link. */
const validHost = /^([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/i

/**
 * Returns the base of absolute links, to which a path is added: SITE_URL, otherwise the address that the client used. A
 * client can send any Host, so that a text with such links is only shared with requests for the same base: pass it to the
 * handler of sharePublicOutput as a part of the key.
 * @throws ApiError 400
 */
export function siteUrl(request: FastifyRequest): string {
  const configured = request.server.config.siteUrl
  if (configured !== undefined) return configured
  const { protocol } = request
  // HTTP/1.0 allows a request without a host.
  const host = request.host || 'localhost'
  // With TRUST_PROXY, the protocol is any text that the proxy sent.
  const url = `${protocol === 'https' ? 'https' : 'http'}://${host}`
  if (host.length > 255 || !validHost.test(host) || !URL.canParse(url)) throw invalidHost()
  // One spelling of each address, because each is a key.
  return new URL(url).origin
}
