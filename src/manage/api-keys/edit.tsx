import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { databaseNow } from '../../database/clock.ts'
import { invalidField, revokedKeyConflict } from '../../errors.ts'
import { requirePrincipal } from '../../http/auth.ts'
import { toKeyContext } from '../../http/change-context.ts'
import { clientAddress } from '../../http/client-address.ts'
import { isAddressAllowed } from '../../keys/allowed-ips.ts'
import { getKey, updateKey } from '../../keys/lifecycle.ts'
import type { ApiKey } from '../../keys/repository.ts'
import { KeyParams } from '../../wire/keys.ts'
import { type FieldErrors, isConflict, isValidationError, readPrecondition, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { ConflictSummary, ErrorSummary, Form } from '../ui.tsx'
import { toExpiryLimits } from './expiry.tsx'
import { type FormSettings, KeyFields, toFormSettings } from './fields.tsx'
import {
  compareKeyForm,
  grantsAdmin,
  type KeyForm,
  keyFormLimitBytes,
  parseKeyChanges,
  readKeyForm,
  toKeyFieldErrors,
} from './form.ts'
import { Breadcrumbs, keyPath } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/:id',
    {
      config: { showAgain, recentLogIn: grantsAdmin },
      bodyLimit: keyFormLimitBytes,
      schema: { params: KeyParams },
    },
    async function update(request, reply) {
      const { id } = request.params
      const form = readKeyForm(request.body)
      const version = readText(request.body, 'version')
      const key = await getKey(app.db, id)
      // Changes are relative to the version from which the form was filled. updateKey compares it again, with the locked row.
      if (key.version !== version) return sendConflict(request, reply, key, form)
      try {
        const changes = parseKeyChanges(form, key, toExpiryLimits(request), await databaseNow(app.db))
        if (Object.keys(changes).length === 0)
          return await reply.redirect(`${keyPath(id)}?notice=unchanged`, 303)
        if (requirePrincipal(request).id === id)
          assertAddressAllowed(changes.allowed_ips, clientAddress(request))
        await updateKey(toKeyContext(request), id, changes, readPrecondition(request.body))
      } catch (error) {
        if (isConflict(error)) return sendConflict(request, reply, await getKey(app.db, id), form)
        if (!isValidationError(error)) throw error
        return sendForm(request, reply.code(400), key, {
          form,
          version,
          errors: toKeyFieldErrors(error, form),
        })
      }
      return reply.redirect(`${keyPath(id)}?notice=saved`, 303)
    },
  )

  async function showAgain(request: FastifyRequest<{ Params: { id: string } }>, reply: FastifyReply) {
    const { params, body } = request
    const key = await getKey(app.db, params.id)
    return sendForm(request, reply, key, { form: readKeyForm(body), version: readText(body, 'version') })
  }
}

export default routes

/** Prevents a lock-out: the session of the key ends with the next request from an address that is not allowed. */
function assertAddressAllowed(allowed: string[] | null | undefined, address: string): void {
  if (allowed !== undefined && !isAddressAllowed(allowed, address))
    throw invalidField('/allowed_ips', `must include your own address, ${address}: this is your own key`)
}

/** Shows the current values next to the entered ones, so that saving again is a decision. */
function sendConflict(request: FastifyRequest, reply: FastifyReply, key: ApiKey, form: KeyForm) {
  if (key.status === 'revoked') throw revokedKeyConflict()
  return sendForm(request, reply.code(412), key, { form, version: key.version, isStale: true })
}

function sendForm(request: FastifyRequest, reply: FastifyReply, apiKey: ApiKey, state: EditState) {
  return sendPage(
    request,
    reply,
    { title: `Edit ${apiKey.name}`, section: 'settings' },
    <>
      <Breadcrumbs current="Edit" apiKey={apiKey} />
      <h1>Edit {apiKey.name}</h1>
      <EditForm apiKey={apiKey} settings={toFormSettings(request)} {...state} />
    </>,
  )
}

type EditState = {
  form: KeyForm
  /** The version that the change requires. */
  version: string
  errors?: FieldErrors
  /** True if the key was changed after the form was opened. */
  isStale?: boolean
}
type EditFormProps = EditState & { apiKey: ApiKey; settings: FormSettings }

export function EditForm({ apiKey, form, version, errors = {}, isStale = false, settings }: EditFormProps) {
  const isRejected = isStale || Object.keys(errors).length > 0
  return (
    <Form action={keyPath(apiKey.id)} class="card form">
      <input type="hidden" name="version" value={version} />
      {isStale && (
        <ConflictSummary resource="key">
          The saved values that differ from yours are next to their fields. Save again to replace them.
        </ConflictSummary>
      )}
      <ErrorSummary errors={errors} />
      <KeyFields
        form={form}
        errors={isStale ? compareKeyForm(form, apiKey) : errors}
        settings={settings}
        currentExpiry={apiKey.expires_at}
      />
      <div class="buttons">
        <button class="primary">Save</button>
        {isRejected && (
          <a class="button" href={keyPath(apiKey.id)}>
            Cancel
          </a>
        )}
      </div>
    </Form>
  )
}
