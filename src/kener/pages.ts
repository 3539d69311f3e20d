import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { Only } from './schemas/shared.ts'

const config = { permission: 'any-key', otherMethods: 404 } as const

const None = Type.Array(Type.Object({}), { examples: [[]] })

/**
 * Empty lists of what this service does not have, because clients read all lists before they change a monitor. Writes are
 * 404.
 */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/pages',
    {
      config,
      schema: {
        operationId: 'v4ListPages',
        summary: 'List pages, of which there are none',
        response: { 200: Only('pages', None, 'An empty list: this service has no pages to configure') },
      },
    },
    async () => ({ pages: [] }),
  )

  app.get(
    '/site',
    {
      config,
      schema: {
        operationId: 'v4ListSiteData',
        summary: 'List site settings, of which there are none',
        response: { 200: Only('site_data', None, 'An empty list: this service has no site settings') },
      },
    },
    async () => ({ site_data: [] }),
  )
}

export default routes
