import type { FastifyRequest } from 'fastify'
import { siteUrl } from '../http/site-url.ts'

/** Returns the command that sends a request of the API to this server. Its key is taken from the shell. */
export function toCurl(
  request: FastifyRequest,
  route: `${'POST' | 'PUT'} /api/${string}`,
  body: object,
): string {
  const [method, path] = route.split(' ')
  return (
    `curl -X ${method} ${siteUrl(request)}${path} -H "Authorization: Bearer $KENER_API_KEY" ` +
    `-H "Content-Type: application/json" -d '${JSON.stringify(body)}'`
  )
}
