import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { promisify } from 'node:util'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ApiError, connectNotAllowed, invalidRequest } from '../errors.ts'
import { sendError, toBody } from './error-handler.ts'
import { logRequest } from './request-log.ts'

/** Where people go. Like every public route, limited by address. */
const isPagePath = /^\/(manage|docs)\//

/**
 * A URL that the router cannot read (such as /api/%zz) meets no hook. The order of checks holds all the same: credentials
 * and limit first.
 */
export async function sendFrameworkError(
  app: FastifyInstance,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  reply.header('x-request-id', request.id)
  try {
    if (!isPagePath.test(request.url)) await promisify(app.authenticate).call(app, request, reply)
    await promisify(app.limitRate).call(app, request, reply)
    sendError(error, request, reply)
  } catch (rejection) {
    sendError(rejection, request, reply)
  }
  logRequest(request, reply)
  app.countRequest?.(request, reply)
}

/** What is not HTTP, too large in its headers, or too slow: there is no request to speak of, only a socket. */
export function sendClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const pending = findPendingReply(socket)
  if (pending) {
    pending.once('finish', () => {
      sendClientError(error, socket)
    })
    return
  }
  const [status, apiError] = toClientError(error.code)
  sendOnSocket(socket, status, apiError)
}

/** A tunnel is asked for, to anywhere: there is no path, and no reply by Node. */
export function sendConnectError(_request: IncomingMessage, socket: Duplex): void {
  // Node has let go of the socket: unheard, its error would end the process, and nobody would close it.
  for (const event of ['error', 'finish']) socket.once(event, () => socket.destroy())
  sendOnSocket(socket, '405 Method Not Allowed', connectNotAllowed())
}

/**
 * Replies come in the order of requests (RFC 9112, section 9.3.2): what follows a good request on its connection must
 * not be answered in its place. The field is where Node itself looks.
 */
function findPendingReply(socket: Socket & { _httpMessage?: ServerResponse | null }) {
  const reply = socket._httpMessage
  return reply?.req.complete && !reply.writableFinished ? reply : undefined
}

function sendOnSocket(socket: Duplex, status: string, apiError: ApiError): void {
  const body = JSON.stringify(toBody(apiError))
  const headers = {
    ...apiError.headers,
    'content-type': 'application/json; charset=utf-8',
    connection: 'close',
    'x-request-id': randomUUID(),
    'content-length': Buffer.byteLength(body),
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n${body}`)
}

function toClientError(code?: string): [status: string, apiError: ApiError] {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return ['431 Request Header Fields Too Large', invalidRequest('The headers are too large')]
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return ['408 Request Timeout', invalidRequest('The request took too long to arrive')]
  }
  return ['400 Bad Request', invalidRequest('This is not a valid HTTP request')]
}
