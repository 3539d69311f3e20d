type ErrorBody = { error: { code: string; message: string; details?: { path: string; message: string }[] } }

/** A response with an error. Requests without a response throw what fetch throws. */
export class KenerError extends Error {
  override readonly name = 'KenerError'
  readonly status: number
  /** For programs, such as NOT_FOUND. UNEXPECTED_RESPONSE: the response is not from the service, but from a proxy. */
  readonly code: string
  /** The invalid values, only of INVALID_REQUEST. */
  readonly details: { path: string; message: string }[]
  /** The log of the service contains it. */
  readonly requestId: string | null
  /** Seconds after which the request may be sent again. */
  readonly retryAfter: number | null

  private constructor(status: number, { code, message, details = [] }: ErrorBody['error'], headers: Headers) {
    super(message)
    this.status = status
    this.code = code
    this.details = details
    this.requestId = headers.get('x-request-id')
    this.retryAfter = parseRetryAfter(headers.get('retry-after'))
  }

  static from({ status, headers }: Response, text: string): KenerError {
    const body = parseJson(text)
    return new KenerError(status, isErrorBody(body) ? body.error : unexpected(status, headers), headers)
  }
}

function unexpected(status: number, headers: Headers): ErrorBody['error'] {
  // Browsers show neither the status nor the headers of a redirect.
  const location = status === 0 ? 'another address' : headers.get('location')
  const redirect = location === null ? '' : `: it redirects to ${location}`
  return {
    code: 'UNEXPECTED_RESPONSE',
    message: `The response with the status ${status} is not from the service${redirect}`,
  }
}

/** Returns undefined if the text is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isErrorBody(body: unknown): body is ErrorBody {
  const { error } = (body ?? {}) as Partial<ErrorBody>
  return typeof error?.code === 'string' && typeof error.message === 'string'
}

/** RFC 9110, section 10.2.3: seconds or a date. */
function parseRetryAfter(value: string | null): number | null {
  if (value === null) return null
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1_000
  return Number.isNaN(seconds) ? null : Math.max(0, seconds)
}
