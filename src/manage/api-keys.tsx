import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { databaseNow } from '../database/clock.ts'
import { invalidRequest } from '../errors.ts'
import { requirePrincipal } from '../http/auth.ts'
import { createKey, getKey, listKeyPage, revokeKey, rotateKey, updateKey } from '../keys/lifecycle.ts'
import { generateKeyId, isKeyId } from '../keys/token.ts'
import { fromAjvErrors } from '../wire/ajv-errors.ts'
import { KeyParams, RotateKey } from '../wire/keys.ts'
import { findErrors } from '../wire/validator.ts'
import { readText, toFieldErrors } from './form.tsx'
import { emptyKeyForm, fillKeyForm, type KeyForm, parseKeyForm, readKeyForm } from './key-form.tsx'
import * as views from './key-views.tsx'
import { sendPage } from './page.tsx'

const pageSize = 50

const Query = Type.Object({
  status: Type.Enum(['', 'active', 'expired', 'revoked'], { default: '' }),
  q: Type.String({ default: '', maxLength: 100 }),
  cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
})

const notices = new Map([
  ['saved', 'Saved. The changes hold for every request from now on.'],
  ['revoked', 'Revoked. The key is refused from now on, everywhere.'],
])

const Notice = Type.Object({ notice: Type.Optional(Type.String()) })

const section = 'settings'

/** Settings > API Keys. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const keyContext = ({ log, principal, ip }: FastifyRequest) => ({
    db: app.db,
    secrets: app.secrets,
    log: log.child({ keyId: principal?.id, address: ip }),
  })

  app.get('/', function showSettings(_request, reply) {
    return reply.redirect('/manage/settings/api-keys', 303)
  })

  app.get('/api-keys', { schema: { querystring: Query } }, async function showKeys(request, reply) {
    const { status, q, cursor } = request.query
    const { data, pagination } = await listKeyPage(app.db, {
      status: status === '' ? undefined : status,
      text: q.trim() === '' ? undefined : q.trim(),
      cursor,
      limit: pageSize,
    })
    const list = { keys: data, status, text: q, isFirst: cursor === undefined, next: pagination.next_cursor }
    const { rateLimitMax } = app.config
    return sendPage(
      request,
      reply,
      { title: 'API Keys', section },
      <views.KeyList {...list} rateLimitMax={rateLimitMax} />,
    )
  })

  app.get('/api-keys/new', function showNewKey(request, reply) {
    return sendNewKey(request, reply, { id: generateKeyId(), form: emptyKeyForm })
  })

  app.post('/api-keys/new', async function createKeyByForm(request, reply) {
    const id = readKeyId(request)
    const form = readKeyForm(request.body)
    try {
      const attributes = parseKeyForm(form, await databaseNow(app.db))
      const issued = await createKey(keyContext(request), attributes, id)
      const page = <views.IssuedKey apiKey={issued.key} token={issued.token} origin={originOf(request)} />
      return await sendIssuedKey(request, reply, page, id)
    } catch (error) {
      const errors = toFieldErrors(error)
      if (!errors) throw error
      return sendNewKey(request, reply.code(400), { id, form, errors })
    }
  })

  app.get(
    '/api-keys/:id',
    { schema: { params: KeyParams, querystring: Notice } },
    async function showKey(request, reply) {
      return sendKey(request, reply, request.params.id, { notice: notices.get(request.query.notice ?? '') })
    },
  )

  app.post(
    '/api-keys/:id',
    { schema: { params: KeyParams } },
    async function updateKeyByForm(request, reply) {
      const { id } = request.params
      const form = readKeyForm(request.body)
      try {
        const before = await getKey(app.db, id)
        await updateKey(
          keyContext(request),
          id,
          parseKeyForm(form, await databaseNow(app.db), before.expires_at),
        )
      } catch (error) {
        const errors = toFieldErrors(error)
        if (!errors) throw error
        return sendKey(request, reply.code(400), id, { form, errors })
      }
      return reply.redirect(`${keyPath(id)}?notice=saved`, 303)
    },
  )

  app.get(
    '/api-keys/:id/rotate',
    { schema: { params: KeyParams } },
    async function showRotate(request, reply) {
      const key = await getKey(app.db, request.params.id)
      const props = { apiKey: key, isOwn: isOwn(request, key.id), successorId: generateKeyId() }
      return sendPage(
        request,
        reply,
        { title: `Rotate ${key.name}`, section },
        <views.RotateKey {...props} />,
      )
    },
  )

  app.post(
    '/api-keys/:id/rotate',
    { schema: { params: KeyParams } },
    async function rotateKeyByForm(request, reply) {
      const { id } = request.params
      const successorId = readKeyId(request)
      const overlapSeconds = Number(readText(request.body, 'overlap_seconds') || NaN)
      const errors = findErrors(RotateKey, { overlap_seconds: overlapSeconds })
      if (errors.length > 0) throw fromAjvErrors(errors)
      const issued = await rotateKey(keyContext(request), id, overlapSeconds, successorId)
      const old = await getKey(app.db, id)
      const props = {
        apiKey: issued.key,
        token: issued.token,
        origin: originOf(request),
        old,
        isOwn: isOwn(request, id),
      }
      return sendIssuedKey(request, reply, <views.IssuedKey {...props} />, successorId)
    },
  )

  app.get(
    '/api-keys/:id/revoke',
    { schema: { params: KeyParams } },
    async function showRevoke(request, reply) {
      const key = await getKey(app.db, request.params.id)
      const props = { apiKey: key, isOwn: isOwn(request, key.id) }
      return sendPage(
        request,
        reply,
        { title: `Revoke ${key.name}`, section },
        <views.RevokeKey {...props} />,
      )
    },
  )

  app.post(
    '/api-keys/:id/revoke',
    { schema: { params: KeyParams } },
    async function revokeKeyByForm(request, reply) {
      const { id } = await revokeKey(keyContext(request), request.params.id)
      return reply.redirect(`${keyPath(id)}?notice=revoked`, 303)
    },
  )

  type NewKey = { id: string; form: KeyForm; errors?: Record<string, string> }

  function sendNewKey(request: FastifyRequest, reply: FastifyReply, { errors = {}, ...rest }: NewKey) {
    const props = { ...rest, errors, rateLimitMax: app.config.rateLimitMax }
    return sendPage(request, reply, { title: 'Generate New Key', section }, <views.NewKey {...props} />)
  }

  /** A reload leads to the key's own page; where there is no script for that, the form is refused the second time. */
  function sendIssuedKey(
    request: FastifyRequest,
    reply: FastifyReply,
    content: ReturnType<typeof views.IssuedKey>,
    id: string,
  ) {
    return sendPage(
      request,
      reply.code(201),
      { title: 'Copy your new key', section, address: keyPath(id) },
      content,
    )
  }

  type KeyPageState = { notice?: string | undefined; form?: KeyForm; errors?: Record<string, string> }

  async function sendKey(
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    { notice, form, errors = {} }: KeyPageState,
  ) {
    const apiKey = await getKey(app.db, id)
    const props = { apiKey, form: form ?? fillKeyForm(apiKey), errors, isOwn: isOwn(request, id) }
    const { rateLimitMax } = app.config
    return sendPage(
      request,
      reply,
      { title: apiKey.name, section, notice },
      <views.KeyDetails {...props} rateLimitMax={rateLimitMax} />,
    )
  }
}

export default routes

/** The id that the key is to have: drawn when the form was shown, so that a form sent twice makes one key. */
function readKeyId({ body }: FastifyRequest): string {
  const id = readText(body, 'id')
  if (!isKeyId(id)) throw invalidRequest('The form is not whole: open its page again')
  return id
}

function keyPath(id: string): string {
  return `/manage/settings/api-keys/${id}`
}

function isOwn(request: FastifyRequest, id: string): boolean {
  return requirePrincipal(request).id === id
}

function originOf({ protocol, host }: FastifyRequest): string {
  return `${protocol}://${host}`
}
