import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { promisify } from 'node:util'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ApiError, invalidRequest } from '../errors.ts'
import { answerFailure, toBody } from './error-handler.ts'
import { logRequest } from './request-log.ts'

/**
 * A URL that the router cannot read (such as /api/%zz) meets no hook. Nothing public has such a one, so the order of
 * checks holds all the same: credentials and limit first.
 */
export async function answerFrameworkError(
  app: FastifyInstance,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  reply.header('x-request-id', request.id)
  try {
    await promisify(app.authenticate).call(app, request, reply)
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
  const [status, failure] = explain(error.code)
  const body = JSON.stringify(toBody(failure))
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close\r\n` +
      `x-request-id: ${randomUUID()}\r\ncontent-length: ${String(Buffer.byteLength(body))}\r\n\r\n${body}`,
  )
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
