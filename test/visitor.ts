import type { FastifyInstance } from 'fastify'

export type Visitor = {
  /** The cookies that a browser would send. */
  cookie: string
  get: (path: string, headers?: Record<string, string>) => Promise<Visited>
  /** Opens the page, and submits its form with the fields and its hidden fields. */
  submit: (path: string, fields: Fields, action?: string) => Promise<Visited>
  /** Submits only these fields. */
  post: (path: string, fields: Fields) => Promise<Visited>
}

export type Visited = { statusCode: number; headers: Record<string, unknown>; body: string }

type Fields = Record<string, string | string[]>

/** A browser that supports cookies and forms, for /manage. */
export function visit(app: FastifyInstance, more: Record<string, string> = {}): Visitor {
  const visitor: Visitor = {
    cookie: '',
    get: (path, headers) => send('GET', path, undefined, headers),
    post: (path, fields) => send('POST', path, encode(fields)),
    submit: async (path, fields, action = path) => {
      const { body } = await visitor.get(path)
      return visitor.post(action, { ...readHidden(body, action), ...fields })
    },
  }

  async function send(method: 'GET' | 'POST', url: string, payload?: string, headers = {}): Promise<Visited> {
    const reply = await app.inject({
      method,
      url,
      headers: {
        ...(visitor.cookie && { cookie: visitor.cookie }),
        ...(payload !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...more,
        ...headers,
      },
      ...(payload !== undefined && { payload }),
    })
    for (const set of [reply.headers['set-cookie'] ?? []].flat()) visitor.cookie = keep(visitor.cookie, set)
    return { statusCode: reply.statusCode, headers: reply.headers, body: reply.body }
  }

  return visitor
}

/** Logs in with the key. */
export async function logIn(app: FastifyInstance, key: string): Promise<Visitor> {
  const visitor = visit(app)
  const { statusCode, headers } = await visitor.submit('/manage/login', { key })
  if (statusCode !== 303 || headers.location !== '/manage')
    throw new Error(`The log-in failed with ${statusCode}`)
  return visitor
}

/** Returns the key that a page shows, or undefined. */
export function keyIn({ body }: Visited): string | undefined {
  return /kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}/.exec(body)?.[0]
}

/** Returns the hidden fields of the form with this action. */
export function readHidden(body: string, action: string): Record<string, string[]> {
  const [, form = ''] =
    new RegExp(`<form method="post" action="${action}"[^>]*>(.*?)</form>`, 's').exec(body) ?? []
  const fields: Record<string, string[]> = {}
  for (const [, name = '', value = ''] of form.matchAll(
    /<input type="hidden" name="([\w:-]+)" value(?:="([^"]*)")?\/>/g,
  )) {
    fields[name] = [...(fields[name] ?? []), unescapeHtml(value)]
  }
  return fields
}

function unescapeHtml(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&quot;', '"').replaceAll('&amp;', '&')
}

/** Updates the cookies with a Set-Cookie header. */
function keep(cookies: string, set: string): string {
  const [pair = ''] = set.split(';')
  const [name = '', value] = pair.split('=')
  const others = cookies.split('; ').filter((cookie) => cookie !== '' && !cookie.startsWith(`${name}=`))
  return [...others, ...(value ? [pair] : [])].join('; ')
}

function encode(fields: Fields): string {
  const pairs = Object.entries(fields).flatMap(([name, value]) =>
    [value].flat().map((single): [string, string] => [name, single]),
  )
  return new URLSearchParams(pairs).toString()
}
