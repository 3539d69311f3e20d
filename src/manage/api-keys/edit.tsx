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
import { assertPrecondition } from '../../preconditions.ts'
import { KeyParams } from '../../wire/keys.ts'
import { EditForm, type EditState, rejectEdit } from '../edit-form.tsx'
import { readPrecondition, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
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
      const expected = readPrecondition(request.body)
      try {
        // Changes are relative to the version from which the form was filled. updateKey compares it again, with the locked row.
        assertPrecondition(expected, key)
        const changes = parseKeyChanges(form, key, toExpiryLimits(request), await databaseNow(app.db))
        if (Object.keys(changes).length === 0)
          return await reply.redirect(`${keyPath(id)}?notice=unchanged`, 303)
        if (requirePrincipal(request).id === id)
          assertAddressAllowed(changes.allowed_ips, clientAddress(request))
        await updateKey(toKeyContext(request), id, changes, expected)
      } catch (error) {
        const state = rejectEdit(error, reply, { form, version }, (invalid) =>
          toKeyFieldErrors(invalid, form),
        )
        const current = await getKey(app.db, id)
        if (current.status === 'revoked') throw revokedKeyConflict()
        return sendForm(request, reply, current, state)
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

function sendForm(request: FastifyRequest, reply: FastifyReply, apiKey: ApiKey, state: EditState<KeyForm>) {
  return sendPage(
    request,
    reply,
    { title: `Edit ${apiKey.name}`, section: 'settings' },
    <>
      <Breadcrumbs current="Edit" apiKey={apiKey} />
      <h1>Edit {apiKey.name}</h1>
      <EditKeyForm apiKey={apiKey} settings={toFormSettings(request)} state={state} />
    </>,
  )
}

type EditKeyFormProps = { apiKey: ApiKey; settings: FormSettings; state: EditState<KeyForm> }

/** A part of the page of the key, or a page of its own if it was rejected. */
export function EditKeyForm({ apiKey, settings, state }: EditKeyFormProps) {
  const { form, version = apiKey.version, errors = {}, isStale } = state
  const isRejected = isStale === true || Object.keys(errors).length > 0
  return (
    <EditForm
      resource="key"
      action={keyPath(apiKey.id)}
      version={version}
      state={state}
      fields={
        <KeyFields
          form={form}
          errors={isStale ? compareKeyForm(form, apiKey) : errors}
          settings={settings}
          currentExpiry={apiKey.expires_at}
        />
      }
      buttons={<button class="primary">Save</button>}
      cancelPath={isRejected ? keyPath(apiKey.id) : undefined}
    />
  )
}
