import fc from 'fast-check'

/** A request as it is sent: the URL is encoded. */
export type WireRequest = {
  /** The name in the description, such as `PATCH /api/keys/{id}`. */
  operation: string
  method: string
  url: string
  headers: Record<string, string>
  body: Buffer | null
}

export type Schema = {
  type?: string | string[]
  enum?: unknown[]
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean
  oneOf?: { required: string[] }[]
  items?: Schema
  minItems?: number
  maxItems?: number
  uniqueItems?: boolean
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  pattern?: string
  format?: string
}
type Parameter = { name: string; in: string; schema: Schema }
type Operation = {
  parameters?: Parameter[]
  requestBody?: { content: Record<string, { schema: Schema }> }
}
export type Described = { paths: Record<string, Record<string, Operation>> }

/** Existing resources, by the name of the parameter or field that can refer to them. */
export type Known = {
  keyIds: string[]
  incidentIds: number[]
  commentIds: number[]
  maintenanceIds: number[]
  eventIds: number[]
  tags: string[]
  /** Times of reports. */
  seconds: number[]
}

/** Generates valid and invalid requests to every operation of a description. */
export function requestsTo(
  document: Described,
  known: Known,
  authorizations: { good: string; others: string[] },
): fc.Arbitrary<WireRequest> {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  )
  const authorization = fc.oneof(
    { weight: 30, arbitrary: fc.constant(authorizations.good) },
    { weight: 1, arbitrary: fc.constantFrom(...authorizations.others) },
  )
  return fc.constantFrom(...operations).chain(({ method: own, path, operation }) => {
    const schema = operation.requestBody?.content['application/json']?.schema
    return fc
      .record({
        method: fc.oneof(
          { weight: 40, arbitrary: fc.constant(own) },
          { weight: 1, arbitrary: fc.constantFrom(...methods) },
        ),
        path: pathFor(path, operation.parameters ?? [], known),
        query: queryFor(operation.parameters ?? [], known),
        headers: fc.oneof({ weight: 12, arbitrary: fc.constant({}) }, fc.constantFrom(...oddHeaders)),
        payload: schema ? bodyFor(schema, known) : fc.oneof({ weight: 8, arbitrary: absentBody }, anyBody),
        authorization,
      })
      .map(({ method, path: filled, query, headers, payload, authorization }) => ({
        operation: `${own} ${path}`,
        method,
        url: query === '' ? filled : `${filled}?${query}`,
        headers: {
          ...(authorization !== '' && { authorization }),
          ...(payload.type !== null && { 'content-type': payload.type }),
          ...headers,
        },
        body: payload.bytes,
      }))
  })
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'QUERY']

const oddHeaders: Record<string, string>[] = [
  { 'x-http-method-override': 'DELETE' },
  { 'x-original-url': '/healthz' },
  { 'x-forwarded-for': '127.0.0.1, ::1, nonsense' },
  { 'x-forwarded-host': 'evil.test', 'x-forwarded-proto': 'gopher' },
  { 'content-encoding': 'gzip' },
  { 'content-encoding': '' },
  { 'content-type': '' },
  { 'content-type': 'application/json; charset=utf-16' },
  { 'content-type': 'application/json;charset' },
  { 'content-type': 'application/json/x' },
  { 'content-type': 'text/plain, application/json' },
  { 'content-type': 'multipart/form-data; boundary=x' },
  { 'content-type': 'application/x-www-form-urlencoded' },
  { accept: 'image/png' },
  { cookie: 'kener_manage=x; __proto__=y; =; ;' },
  { range: 'bytes=0-1' },
  { 'if-none-match': '*' },
  { expect: 'nonsense' },
  { origin: 'null' },
  { 'x-request-id': 'mine' },
  { constructor: 'x' },
  { 'x-text': '\xe9\xff' },
]

// In URLs.

/** Values that are invalid for every parameter, or cannot be decoded. */
const oddParts = [
  ...[
    '%00',
    '%ff',
    '%zz',
    '%',
    '%2',
    '%2e%2e',
    '..',
    '.',
    '%2f',
    '%5c',
    'a%2fb',
    '%0d%0aset-cookie:x',
    '%20',
    '+',
  ],
  ...[
    '__proto__',
    'constructor',
    'toString',
    '*',
    ':id',
    '%7bid%7d',
    ';a=b',
    "'or'1'='1",
    '%31',
    'null',
    'undefined',
  ],
  ...[
    '-1',
    '-0',
    '0',
    '1.5',
    '1e1',
    '0x1',
    '%2b1',
    '2147483647',
    '2147483648',
    '9007199254740993',
    '9'.repeat(30),
    'NaN',
  ],
  ...[
    '%F0%9F%92%A9',
    '%E2%80%AE',
    'e%CC%81',
    '%ed%a0%80',
    '%EF%BB%BF',
    '%c0%ae',
    'x'.repeat(500),
    'x'.repeat(2_000),
  ],
]
const oddPart = fc.constantFrom(...oddParts)

function existingFor(name: string, path: string, known: Known): (string | number)[] {
  switch (name) {
    case 'tag':
    case 'monitor_tag':
      return known.tags
    case 'timestamp':
      return known.seconds
    case 'comment_id':
      return known.commentIds
    case 'event_id':
      return known.eventIds
    default:
      if (path.startsWith('/api/keys')) return known.keyIds
      return path.includes('/maintenances') ? known.maintenanceIds : known.incidentIds
  }
}

function pathFor(path: string, parameters: Parameter[], known: Known): fc.Arbitrary<string> {
  const ofPath = parameters.filter((parameter) => parameter.in === 'path')
  const values = ofPath.map(({ name }) => {
    const existing = existingFor(name, path, known)
    return fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(...existing).map((value) => encodeURIComponent(value)) },
      { weight: 1, arbitrary: oddPart },
      { weight: 1, arbitrary: fc.constant('') },
    )
  })
  const filled = fc
    .tuple(...values)
    .map((parts) =>
      ofPath.reduce((url, { name }, index) => url.replace(`{${name}}`, () => parts[index] ?? ''), path),
    )
  const bent = fc.tuple(filled, oddPart, fc.nat(10)).map(([url, part, place]) => {
    const segments = url.split('/')
    segments.splice(1 + (place % segments.length), 0, part)
    return segments.join('/')
  })
  return fc.oneof({ weight: 25, arbitrary: filled }, { weight: 1, arbitrary: bent })
}

function queryFor(parameters: Parameter[], known: Known): fc.Arbitrary<string> {
  const good = parameters
    .filter((parameter) => parameter.in === 'query')
    .map(({ name, schema }) =>
      valueFor(schema, name, known).map((value) => `${name}=${encodeURIComponent(String(value))}`),
    )
  const names = [
    ...parameters.map(({ name }) => name),
    'unknown',
    '__proto__',
    'constructor',
    'limit',
    'cursor',
  ]
  const odd = fc
    .tuple(fc.constantFrom(...names), fc.constantFrom('', '[]', '[a]', '.a', '%00', '%5B%5D'), oddPart)
    .map(([name, suffix, value]) => `${name}${suffix}=${value}`)
  const broken = fc.constantFrom(
    '&',
    '=',
    '&&&',
    '?',
    '%',
    '%zz=%zz',
    'a',
    '=a',
    'limit',
    'limit=5&limit=6',
    '#',
    '[]',
  )
  const pairs = good.length > 0 ? fc.subarray(good).chain((some) => fc.tuple(...some)) : fc.constant([])
  return fc
    .tuple(
      pairs as fc.Arbitrary<string[]>,
      fc.oneof({ weight: 9, arbitrary: fc.constant([]) }, fc.array(fc.oneof(odd, broken), { maxLength: 3 })),
    )
    .map(([known, extra]) => [...known, ...extra].join('&'))
}

// In bodies.

type Payload = { type: string | null; bytes: Buffer | null }

const absentBody = fc.constant<Payload>({ type: null, bytes: null })

/** JSON that JSON.stringify does not produce. A placeholder character represents each. */
const oddJson = [
  ...[
    '1e400',
    '-1e400',
    '1e-400',
    '-0',
    '-0.0',
    '1.0',
    '1E2',
    '9'.repeat(400),
    '0.1',
    '-1',
    '2147483648',
    '1e308',
  ],
  ...[
    '01',
    '+1',
    '.5',
    '0x10',
    'NaN',
    'Infinity',
    'undefined',
    "'x'",
    '1_000',
    '',
    '/**/1',
    '[1,]',
    '{"a":1,}',
  ],
  ...[
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\x"',
    '"\t"',
    '"\\ud83d\\ude00"',
    '"\\u202e"',
  ],
  ...[
    '{"__proto__":{"admin":true}}',
    '{"constructor":{"prototype":{"admin":true}}}',
    '{"a":1,"a":2}',
    '{"":""}',
  ],
  ...[
    'null',
    'true',
    '[]',
    '{}',
    '[null]',
    '[[]]',
    '""',
    '" "',
    '"0"',
    '"1970-01-01T00:00:00Z"',
    '"e\\u0301"',
  ],
  ...[
    '"9999-12-31T23:59:60Z"',
    '"0000-00-00T00:00:00Z"',
    '"2024-02-30T00:00:00Z"',
    '"2024-01-01T00:00:00+24:00"',
  ],
  '['.repeat(10_000) + ']'.repeat(10_000),
  '{"a":'.repeat(10_000) + '1' + '}'.repeat(10_000),
  `"${'x'.repeat(20_000)}"`,
  `"${'💩'.repeat(5_000)}"`,
  `[${'0,'.repeat(2_000)}0]`,
]
const firstPrivate = 0xe000
const oddValue = fc.nat(oddJson.length - 1).map((index) => String.fromCharCode(firstPrivate + index))

function toJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /"([\ue000-\uf8ff])"/g,
    (_, character: string) => oddJson[character.charCodeAt(0) - firstPrivate] ?? '',
  )
}

const oddNames = [
  'unknown',
  '__proto__',
  'constructor',
  'toString',
  '',
  'a/b',
  '~',
  'id',
  'key',
  'a\0b',
  '0',
  'é',
]

function bodyFor(schema: Schema, known: Known): fc.Arbitrary<Payload> {
  const good = valueFor(schema, '', known)
  const asJson = (text: fc.Arbitrary<string>) =>
    text.map<Payload>((json) => ({ type: 'application/json', bytes: Buffer.from(json) }))
  return fc.oneof(
    { weight: 10, arbitrary: asJson(good.map(toJson)) },
    { weight: 6, arbitrary: asJson(fc.tuple(good, fc.nat(), oddValue).map(mutate).map(toJson)) },
    {
      weight: 2,
      arbitrary: asJson(fc.tuple(good, fc.nat(), fc.constant(undefined)).map(mutate).map(toJson)),
    },
    {
      weight: 2,
      arbitrary: asJson(
        fc
          .tuple(good, fc.constantFrom(...oddNames), fc.oneof(oddValue, fc.jsonValue()))
          .map(extend)
          .map(toJson),
      ),
    },
    { weight: 1, arbitrary: asJson(fc.tuple(good.map(toJson), fc.nat(), fc.nat()).map(repeatName)) },
    { weight: 1, arbitrary: asJson(fc.tuple(good.map(toJson), fc.nat(), fc.string()).map(breakText)) },
    { weight: 1, arbitrary: anyBody },
    {
      weight: 1,
      arbitrary: good.map((value) => reencode(toJson(value))).chain((all) => fc.constantFrom(...all)),
    },
    { weight: 1, arbitrary: absentBody },
  )
}

const anyBody = fc.record<Payload>({
  type: fc.constantFrom(null, 'application/json', 'text/plain', 'application/xml', 'nonsense'),
  bytes: fc.oneof(
    oddValue.map((value) => Buffer.from(toJson(value))),
    fc.json().map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
  ),
})

/** Replaces or removes one of the values. */
function mutate([value, choice, replacement]: [unknown, number, string | undefined]): unknown {
  const places: [holder: Record<string, unknown>, name: string][] = []
  const copy = { root: structuredClone(value) } as Record<string, unknown>
  const collect = (holder: Record<string, unknown>) => {
    for (const [name, inner] of Object.entries(holder)) {
      places.push([holder, name])
      if (typeof inner === 'object' && inner !== null) collect(inner as Record<string, unknown>)
    }
  }
  collect(copy)
  const [holder, name] = places[choice % places.length] ?? [copy, 'root']
  if (replacement !== undefined) holder[name] = replacement
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
  else if (holder !== copy && !Array.isArray(holder)) delete holder[name]
  return copy.root
}

function extend([value, name, more]: [unknown, string, unknown]): unknown {
  return Object.fromEntries([...Object.entries(value as object), [name, more]])
}

/** Repeats a field, the second time with the value of another field. */
function repeatName([text, one, other]: [string, number, number]): string {
  const fields = Object.entries(JSON.parse(text) as object)
  const [name] = fields[one % fields.length] ?? ['a']
  const [, value] = fields[other % fields.length] ?? ['a', 1]
  return text.replace(
    /\}$/,
    `${fields.length > 0 ? ',' : ''}${JSON.stringify(name)}:${JSON.stringify(value)}}`,
  )
}

function breakText([text, place, inserted]: [string, number, string]): string {
  const at = place % (text.length + 1)
  return inserted === '' ? text.slice(0, at) : text.slice(0, at) + inserted + text.slice(at)
}

function reencode(text: string): Payload[] {
  return [
    { type: 'application/json', bytes: Buffer.from(`\ufeff${text}`) },
    { type: 'application/json', bytes: Buffer.from(text, 'utf16le') },
    { type: 'application/json', bytes: Buffer.from(text.replace(/"/, '"é'), 'latin1') },
    { type: 'application/json', bytes: Buffer.from(`${text}${text}`) },
    { type: 'application/json', bytes: Buffer.from(text.padEnd(1_048_577)) },
    { type: 'application/json; charset=utf-8', bytes: Buffer.from(` \n\t${text}\r\n`) },
    { type: 'application/x-www-form-urlencoded', bytes: Buffer.from(text) },
    { type: null, bytes: Buffer.from(text) },
    { type: 'application/json', bytes: Buffer.alloc(0) },
  ]
}

// Values that match a schema.

const times = [
  ...['1970-01-01T00:00:00Z', '9999-12-31T23:59:59Z', '2024-02-29T23:59:59.999Z', '2016-12-31T23:59:60Z'],
  ...[
    '2026-01-01T00:00:00Z',
    '2026-01-01T01:00:00+01:00',
    '2026-01-01t00:05:30z',
    '2026-01-02T00:00:00-23:59',
  ],
]

const rules = [
  'FREQ=WEEKLY;BYDAY=SU',
  'FREQ=HOURLY',
  'FREQ=DAILY;COUNT=100',
  'FREQ=YEARLY;UNTIL=99991231',
  'FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30',
  'FREQ=YEARLY;BYDAY=53MO;BYSETPOS=-366',
  'FREQ=MINUTELY',
]

function valueFor(schema: Schema, name: string, known?: Known): fc.Arbitrary<unknown> {
  if (schema.enum) return fc.constantFrom(...schema.enum)
  const [type, or] = [schema.type].flat()
  if (or === 'null')
    return fc.oneof(
      { weight: 3, arbitrary: valueFor({ ...schema, type: type ?? '' }, name, known) },
      fc.constant(null),
    )
  switch (type) {
    case 'object':
      return objectFor(schema, known)
    case 'array': {
      const items = valueFor(schema.items ?? {}, name, known)
      const bounds = { minLength: schema.minItems ?? 0, maxLength: Math.min(schema.maxItems ?? 5, 5) }
      return schema.uniqueItems ? fc.uniqueArray(items, bounds) : fc.array(items, bounds)
    }
    case 'boolean':
      return fc.boolean()
    case 'integer':
      return aroundKnown(fc.integer({ min: schema.minimum ?? -100, max: schema.maximum ?? 100 }), name, known)
    case 'number':
      return aroundKnown(
        fc.double({ min: schema.minimum ?? -100, max: schema.maximum ?? 100, noNaN: true }),
        name,
        known,
      )
    case 'string':
      if (known && (name === 'monitor_tag' || name === 'tag'))
        return fc.oneof(fc.constantFrom(...known.tags), textFor(schema))
      if (name === 'rrule') return fc.oneof(fc.constantFrom(...rules), textFor(schema))
      return textFor(schema)
    case undefined:
      // A read-only field, which may have any value.
      return fc.jsonValue({ maxDepth: 2 })
    default:
      throw new Error(`There is no generator for ${name}: ${JSON.stringify(schema)}`)
  }
}

/** Prefers times near existing reports, because random times are hardly ever within a year of one another. */
function aroundKnown(any: fc.Arbitrary<number>, name: string, known?: Known): fc.Arbitrary<number> {
  if (!known || !/_ts$|_date_time$|^timestamp$/.test(name)) return any
  const near = fc
    .tuple(fc.constantFrom(...known.seconds), fc.constantFrom(0, 60, 3_599.5, 86_400))
    .map(([seconds, more]) => seconds + more)
  return fc.oneof({ weight: 3, arbitrary: near }, any)
}

function objectFor(schema: Schema, known?: Known): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], oneOf } = schema
  if (schema.additionalProperties === true) return fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue())
  if (oneOf) {
    // Each alternative without the fields that another alternative requires.
    const all = oneOf.flatMap((alternative) => alternative.required)
    const variants = oneOf.map((alternative) => {
      const left = Object.entries(properties).filter(
        ([name]) =>
          alternative.required.includes(name) ||
          (!all.includes(name) && !alternative.required.includes('points')),
      )
      return objectFor({ properties: Object.fromEntries(left), required: alternative.required }, known)
    })
    return fc.oneof(...variants)
  }
  const values = Object.entries(properties).map(
    ([name, inner]) => [name, valueFor(inner, name, known)] as const,
  )
  return fc.record(Object.fromEntries(values), { requiredKeys: required, noNullPrototype: true })
}

function textFor({ format, pattern, minLength = 0, maxLength = 50 }: Schema): fc.Arbitrary<string> {
  if (format === 'date-time') return fc.constantFrom(...times)
  if (pattern === '^https?://') return fc.webUrl()
  if (pattern !== undefined && pattern !== '\\S')
    return fc.stringMatching(new RegExp(pattern), { maxLength: 50 })
  const longest = fc
    .constantFrom('x', '💡', '\u0301', '\u202e')
    .map((character) => character.repeat(maxLength))
  const some = fc.string({ unit: 'grapheme', minLength, maxLength: Math.min(maxLength, 10) })
  return fc
    .oneof({ weight: 9, arbitrary: some }, longest)
    .filter((text) => pattern === undefined || /\S/.test(text))
}
