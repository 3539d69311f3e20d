import helmet from '@fastify/helmet'
import type { FastifyInstance } from 'fastify'

/**
 * Adds the security headers of pages to all responses of the scope. Pages load resources from this origin only, have no
 * inline scripts or styles, and cannot be framed.
 * @param directives additional or other directives of the content security policy
 */
export async function securePages(
  app: FastifyInstance,
  directives: Record<string, string[]> = {},
): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        imgSrc: ["'self'"],
        formAction: ["'self'"],
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
        ...directives,
      },
    },
    // HSTS applies to the whole host, so it is left to the proxy that terminates TLS.
    hsts: false,
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'same-origin' },
  })
}
