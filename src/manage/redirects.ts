import type { FastifyRequest } from 'fastify'

/** Returns the page to open after the log-in: a page of the panel, so that a link cannot redirect to another site. */
export function safeRedirectPath(path: string): string {
  return /^\/manage(\/[\w/-]*)?(\?[\w=&%+.*-]*)?$/.test(path) ? path : '/manage'
}

/** True if a page of this site sent the request. Browsers do not let other sites set these headers. */
export function isFromThisSite({ headers, host }: FastifyRequest): boolean {
  const { 'sec-fetch-site': site, origin } = headers
  // Only sent to HTTPS and to localhost.
  if (site !== undefined) return site === 'same-origin'
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host
}

/** Returns the path of the page that contained the form, or of the overview. */
export function pathBefore(request: FastifyRequest): string {
  const { referer = '' } = request.headers
  if (!isFromThisSite(request) || !URL.canParse(referer)) return '/manage'
  const { host, pathname, search } = new URL(referer)
  // A page that was the response to this form may not exist for GET.
  return host === request.host && pathname !== request.url.split('?')[0]
    ? safeRedirectPath(pathname + search)
    : '/manage'
}

/** Says on the page that the last form was not carried out. */
export function withNotice(path: string, notice: 'unchanged' | 'done'): string {
  const [pathname = '', search = ''] = path.split('?')
  const query = new URLSearchParams(search)
  query.set('notice', notice)
  return `${pathname}?${query.toString()}`
}
