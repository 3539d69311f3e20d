import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { promisify } from 'node:util'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ApiError, invalidRequest, noProxy } from '../errors.ts'
import { answerFailure, toBody } from './error-handler.ts'
import { logRequest } from './request-log.ts'

/** Where people go. Like every public route, limited by address. */
const isForPeople = /^\/(manage|docs)\//

/**
 * A URL that the router cannot read (such as /api/%zz) meets no hook. The order of checks holds all the same: credentials
 * and limit first.
 */
export async function answerFrameworkError(
  app: FastifyInstance,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  reply.header('x-request-id', request.id)
  try {
    if (!isForPeople.test(request.url)) await promisify(app.authenticate).call(app, request, reply)
    await promisify(app.limitRate).call(app, request, reply)
    answerFailure(error, request, reply)
  } catch (refusal) {
    answerFailure(refusal, request, reply)
  }
  logRequest(request, reply)
  app.countRequest?.(request, reply)
}

/** What is not HTTP, too large in its headers, or too slow: there is no request to speak of, only a socket. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const earlier = findEarlierReply(socket)
  if (earlier) {
    earlier.once('finish', () => {
      answerClientError(error, socket)
    })
    return
  }
  const [status, failure] = explain(error.code)
  answerOnSocket(socket, status, failure)
}

/** A tunnel is asked for, to anywhere: there is no path, and no reply by Node. */
export function answerConnect(_request: IncomingMessage, socket: Duplex): void {
  // Node has let go of the socket: unheard, its error would end the process, and nobody would close it.
  for (const event of ['error', 'finish']) socket.once(event, () => socket.destroy())
  answerOnSocket(socket, '405 Method Not Allowed', noProxy())
}

/**
 * Replies come in the order of requests (RFC 9112, section 9.3.2): what follows a good request on its connection must
 * not be answered in its place. The field is where Node itself looks.
 */
function findEarlierReply(socket: Socket & { _httpMessage?: ServerResponse | null }) {
  const reply = socket._httpMessage
  return reply?.req.complete && !reply.writableFinished ? reply : undefined
}

function answerOnSocket(socket: Duplex, status: string, failure: ApiError): void {
  const body = JSON.stringify(toBody(failure))
  const headers = {
    ...failure.headers,
    'content-type': 'application/json; charset=utf-8',
    connection: 'close',
    'x-request-id': randomUUID(),
    'content-length': Buffer.byteLength(body),
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n${body}`)
}

function explain(code?: string): [status: string, failure: ApiError] {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return ['431 Request Header Fields Too Large', invalidRequest('The headers are too large')]
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return ['408 Request Timeout', invalidRequest('The request took too long to arrive')]
  }
  return ['400 Bad Request', invalidRequest('This is not a valid HTTP request')]
}
