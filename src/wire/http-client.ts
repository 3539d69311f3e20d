/**
 * Returns the URL without trailing slashes, or undefined if the text is not an http or https URL without credentials,
 * query and fragment.
 */
export function parseBaseUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, username, password, origin, pathname, search, hash } = new URL(text)
  const isPlain = /^https?:$/.test(protocol) && username + password + search + hash === ''
  return isPlain ? origin + pathname.replace(/\/+$/, '') : undefined
}

/**
 * Describes a network error of fetch, to continue a sentence that starts with the URL. Contains only the code of the
 * error, because its message may contain text of the server. Returns undefined for other errors.
 */
export function describeFetchError(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if (error.name === 'TimeoutError') return 'did not respond in time'
  // Errors of fetch have a cause; errors of our own code do not.
  if (error.cause === undefined) return undefined
  const cause: unknown = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  const code =
    typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : error.name
  return `cannot be reached (${code})`
}
