import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Status } from '../enums.ts'
import { monitorNotFound } from '../errors.ts'
import { publicOutput } from '../http/public-output.ts'
import { findVisibleMonitors, type Monitor } from '../monitors/repository.ts'
import { readOverallStatus } from '../status/repository.ts'
import { NotModified, StringEnum } from '../wire/envelope.ts'
import { isStorable } from '../wire/validator.ts'
import { toXmlText } from './xml-text.ts'

type Badge = { label: string; message: string; color: string; isError?: boolean }

/** A badge has about 1 kB, so that the badges of 500 monitors are kept. */
const maxBytes = 1_048_576

const Query = Type.Object({
  format: Type.Optional(
    StringEnum(['svg', 'json'], {
      description: 'An image, or the endpoint format of shields.io. Default: svg.',
    }),
  ),
})
const Params = Type.Object({
  tag: Type.String({ description: 'Tag of a monitor that the public page shows.' }),
})

const Endpoint = Type.Object({
  schemaVersion: Type.Literal(1, { description: 'Version of the format, always 1.', examples: [1] }),
  label: Type.String({ description: 'Left part of the badge.', examples: ['Website'] }),
  message: Type.String({ description: 'Right part of the badge.', examples: ['up'] }),
  color: Type.String({ description: 'Color of the right part.', examples: ['brightgreen'] }),
  isError: Type.Optional(
    Type.Boolean({
      description: 'True if the status is DOWN: the color cannot be overridden.',
      examples: [false],
    }),
  ),
})
const response = {
  200: {
    description: 'The badge',
    content: {
      'image/svg+xml': {
        schema: Type.String({
          examples: ['<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20"></svg>'],
        }),
      },
      'application/json': { schema: Endpoint },
    },
  },
  304: NotModified,
}

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const sendStatus = shareBadge(async (tag) => toStatusBadge(await getVisibleMonitor(tag)))
  app.get(
    '/badge/:tag/status',
    {
      config: publicOutput,
      schema: {
        operationId: 'readStatusBadge',
        summary: 'Get a badge with the status of a monitor',
        params: Params,
        querystring: Query,
        response,
      },
    },
    async function readStatusBadge(request, reply) {
      return await sendStatus[request.query.format ?? 'svg'](request, reply, request.params.tag)
    },
  )

  const sendUptime = shareBadge(async (tag) => toUptimeBadge(await getVisibleMonitor(tag)))
  app.get(
    '/badge/:tag/uptime',
    {
      config: publicOutput,
      schema: {
        operationId: 'readUptimeBadge',
        summary: 'Get a badge with the uptime of a monitor in the last 90 days',
        params: Params,
        querystring: Query,
        response,
      },
    },
    async function readUptimeBadge(request, reply) {
      return await sendUptime[request.query.format ?? 'svg'](request, reply, request.params.tag)
    },
  )

  const sendOverall = shareBadge(async () => {
    return toStatusBadge({ name: app.config.siteName, status: await readOverallStatus(app.db) })
  })
  app.get(
    // No tag starts with an underscore.
    '/badge/_/status',
    {
      config: publicOutput,
      schema: {
        operationId: 'readOverallBadge',
        summary: 'Get a badge with the most severe status of all monitors',
        querystring: Query,
        response,
      },
    },
    async function readOverallBadge(request, reply) {
      return await sendOverall[request.query.format ?? 'svg'](request, reply)
    },
  )

  function shareBadge(compute: (key: string) => Promise<Badge>) {
    return {
      svg: app.sharePublicOutput(async (key) => renderSvg(await compute(key)), {
        type: 'image/svg+xml; charset=utf-8',
        maxBytes,
      }),
      json: app.sharePublicOutput(
        async (key) => Buffer.from(JSON.stringify({ schemaVersion: 1, ...(await compute(key)) })),
        { maxBytes },
      ),
    }
  }

  /** @throws ApiError 404, the same for a tag that no monitor has, and for a hidden or disabled monitor */
  async function getVisibleMonitor(tag: string): Promise<Monitor> {
    const monitor = isStorable(tag) ? (await findVisibleMonitors(app.db, [tag])).get(tag) : undefined
    if (!monitor) throw monitorNotFound()
    return monitor
  }
}

export default routes

const statusMessages: Record<Status, [message: string, color: string]> = {
  UP: ['up', 'brightgreen'],
  DEGRADED: ['degraded', 'yellow'],
  DOWN: ['down', 'red'],
  MAINTENANCE: ['maintenance', 'blue'],
  NO_DATA: ['no data', 'lightgrey'],
}

function toStatusBadge({ name, status }: Pick<Monitor, 'name' | 'status'>): Badge {
  const [message, color] = statusMessages[status]
  return { label: name, message, color, ...(status === 'DOWN' && { isError: true }) }
}

/** Lowest uptime of each color. */
const uptimeColors: [uptime: number, color: string][] = [
  [0.999, 'brightgreen'],
  [0.99, 'green'],
  [0.95, 'yellow'],
  [0.9, 'orange'],
  [0, 'red'],
]

function toUptimeBadge({ name, uptime }: Monitor): Badge {
  const label = `${name} uptime`
  const value = uptime['90d']
  if (value === null) return { label, message: 'no data', color: 'lightgrey' }
  const color = uptimeColors.find(([lowest]) => value >= lowest)?.[1] ?? 'red'
  // Rounded down, so that 100% means that no minute was down.
  return { label, message: `${Number((Math.floor(value * 10_000) / 100).toFixed(2))}%`, color }
}

async function renderSvg({ label, message, color }: Badge): Promise<Buffer> {
  // Loaded when it is used, because its tables of character widths are larger than the rest of the service.
  const { makeBadge } = await import('badge-maker')
  return Buffer.from(makeBadge({ label: toXmlText(label), message, color }))
}
