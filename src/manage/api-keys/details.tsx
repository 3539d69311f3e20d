import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { databaseNow } from '../../database/clock.ts'
import { requirePrincipal } from '../../http/auth.ts'
import { toKeyContext } from '../../http/key-context.ts'
import { getKey, updateKey } from '../../keys/lifecycle.ts'
import type { ApiKey } from '../../keys/repository.ts'
import { KeyParams } from '../../wire/keys.ts'
import { type FieldErrors, isValidationError, toFieldErrors } from '../form.ts'
import { sendPage } from '../page.tsx'
import { ErrorSummary, Form, TimeAgo, TimeAgoOrNever } from '../ui.tsx'
import {
  fillKeyForm,
  KeyFields,
  type KeyForm,
  type OriginalAttributes,
  OriginalFields,
  parseKeyChanges,
  readKeyForm,
  readOriginal,
} from './form.tsx'
import { Breadcrumbs, keyPath, keysPath, PermissionTags, RateLimit, Status } from './ui.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['saved', 'Changes saved. They apply to every request from now on.'],
  ['revoked', 'Key revoked. Every request with it is rejected from now on.'],
])

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/:id', { schema: { params: KeyParams, querystring: Query } }, async function show(request, reply) {
    const notice = notices.get(request.query.notice ?? '')
    return sendDetails(request, reply, request.params.id, { notice })
  })

  app.post('/:id', { schema: { params: KeyParams } }, async function update(request, reply) {
    const { id } = request.params
    const form = readKeyForm(request.body)
    const original = readOriginal(request.body)
    try {
      const changes = parseKeyChanges(form, original, await databaseNow(app.db))
      await updateKey(toKeyContext(request), id, changes)
    } catch (error) {
      if (!isValidationError(error)) throw error
      const rejected = { form, original, errors: toFieldErrors(error) }
      return sendDetails(request, reply.code(400), id, { rejected })
    }
    return reply.redirect(`${keyPath(id)}?notice=saved`, 303)
  })

  type State = { notice?: string | undefined; rejected?: EditState }

  async function sendDetails(
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    { notice, rejected }: State,
  ) {
    const apiKey = await getKey(app.db, id)
    const { rateLimitMax } = app.config
    const stored = fillKeyForm(apiKey)
    return sendPage(
      request,
      reply,
      { title: apiKey.name, section: 'settings', notice },
      <>
        <Heading apiKey={apiKey} />
        <Facts apiKey={apiKey} isOwn={requirePrincipal(request).id === id} rateLimitMax={rateLimitMax} />
        {apiKey.status === 'revoked' ? (
          <p class="muted">
            A revoked key cannot be changed. <a href={`${keysPath}/new`}>Generate a new key</a> if you need
            one.
          </p>
        ) : (
          <EditForm
            apiKey={apiKey}
            rateLimitMax={rateLimitMax}
            {...(rejected ?? { form: stored, original: stored, errors: {} })}
          />
        )}
      </>,
    )
  }
}

export default routes

function Heading({ apiKey: { id, name, status } }: { apiKey: ApiKey }) {
  return (
    <>
      <Breadcrumbs current={name} />
      <div class="heading">
        <h1>{name}</h1>
        <div class="buttons">
          {status === 'active' && (
            <a class="button" href={`${keyPath(id)}/rotate`}>
              Rotate
            </a>
          )}
          {status !== 'revoked' && (
            <a class="button danger" href={`${keyPath(id)}/revoke`}>
              Revoke
            </a>
          )}
        </div>
      </div>
    </>
  )
}

function Facts({ apiKey, isOwn, rateLimitMax }: { apiKey: ApiKey; isOwn: boolean; rateLimitMax: number }) {
  return (
    <section class="card" aria-label="Details">
      <dl class="facts">
        <dt>ID</dt>
        <dd>
          <code>{apiKey.id}</code>
        </dd>
        <dt>Status</dt>
        <dd>
          <Status status={apiKey.status} />
          {isOwn && <span class="muted"> (you are logged in with this key)</span>}
        </dd>
        <dt>Permissions</dt>
        <dd>
          <PermissionTags permissions={apiKey.permissions} />
        </dd>
        <dt>Limit</dt>
        <dd>
          <RateLimit limit={apiKey.rate_limit} rateLimitMax={rateLimitMax} />
        </dd>
        <dt>Created</dt>
        <dd>
          <TimeAgo time={apiKey.created_at} />
        </dd>
        <dt>Last use</dt>
        <dd>
          <TimeAgoOrNever time={apiKey.last_used_at} />
        </dd>
        <dt>Expiry</dt>
        <dd>
          <TimeAgoOrNever time={apiKey.expires_at} />
        </dd>
        {apiKey.revoked_at && (
          <>
            <dt>Revoked</dt>
            <dd>
              <TimeAgo time={apiKey.revoked_at} />
            </dd>
          </>
        )}
        {apiKey.rotated_from !== null && (
          <>
            <dt>Rotated from</dt>
            <dd>
              <a href={keyPath(apiKey.rotated_from)}>
                <code>{apiKey.rotated_from}</code>
              </a>
            </dd>
          </>
        )}
      </dl>
    </section>
  )
}

type EditState = { form: KeyForm; original: OriginalAttributes; errors: FieldErrors }
type EditFormProps = EditState & { apiKey: ApiKey; rateLimitMax: number }

function EditForm({ apiKey, form, original, errors, rateLimitMax }: EditFormProps) {
  return (
    <section aria-labelledby="edit">
      <h2 id="edit">Edit</h2>
      <Form action={keyPath(apiKey.id)} class="card form">
        <OriginalFields {...original} />
        <ErrorSummary errors={errors} />
        <KeyFields
          form={form}
          errors={errors}
          rateLimitMax={rateLimitMax}
          currentExpiry={apiKey.expires_at}
        />
        <div class="buttons">
          <button class="primary">Save</button>
        </div>
      </Form>
    </section>
  )
}
