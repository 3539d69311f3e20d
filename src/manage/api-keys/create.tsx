import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { databaseNow } from '../../database/clock.ts'
import { toKeyContext } from '../../http/change-context.ts'
import { createKey } from '../../keys/lifecycle.ts'
import { generateKeyId } from '../../keys/token.ts'
import { type FieldErrors, isValidationError } from '../form.ts'
import { sendPage } from '../page.tsx'
import { ErrorSummary, Form } from '../ui.tsx'
import { toExpiryLimits } from './expiry.tsx'
import { type FormSettings, KeyFields, toFormSettings } from './fields.tsx'
import {
  emptyKeyForm,
  grantsAdmin,
  type KeyForm,
  keyFormLimitBytes,
  parseNewKey,
  readKeyForm,
  toKeyFieldErrors,
} from './form.ts'
import { readKeyId, sendIssuedKey } from './issued.tsx'
import { Breadcrumbs, keysPath } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/new', function showForm(request, reply) {
    return sendForm(request, reply, { id: generateKeyId(), form: emptyKeyForm, errors: {} })
  })

  app.post(
    '/new',
    { config: { showAgain, recentLogIn: grantsAdmin }, bodyLimit: keyFormLimitBytes },
    async function create(request, reply) {
      const id = readKeyId(request.body)
      const form = readKeyForm(request.body)
      try {
        const attributes = parseNewKey(form, toExpiryLimits(request), await databaseNow(app.db))
        const issued = await createKey(toKeyContext(request), attributes, id)
        return await sendIssuedKey(request, reply, issued)
      } catch (error) {
        if (!isValidationError(error)) throw error
        return sendForm(request, reply.code(400), { id, form, errors: toKeyFieldErrors(error, form) })
      }
    },
  )

  function showAgain(request: FastifyRequest, reply: FastifyReply) {
    const { body } = request
    return sendForm(request, reply, { id: readKeyId(body), form: readKeyForm(body), errors: {} })
  }

  function sendForm(request: FastifyRequest, reply: FastifyReply, state: FormState) {
    const page = { title: 'Generate New Key', section: 'settings' } as const
    return sendPage(request, reply, page, <NewKeyPage {...state} settings={toFormSettings(request)} />)
  }
}

export default routes

type FormState = { id: string; form: KeyForm; errors: FieldErrors }

function NewKeyPage({ id, form, errors, settings }: FormState & { settings: FormSettings }) {
  return (
    <>
      <Breadcrumbs current="Generate New Key" />
      <h1>Generate New Key</h1>
      <Form action={`${keysPath}/new`} class="card form">
        <input type="hidden" name="id" value={id} />
        <ErrorSummary errors={errors} />
        <KeyFields form={form} errors={errors} settings={settings} />
        <div class="buttons">
          <button class="primary">Create</button>
          <a class="button" href={keysPath}>
            Cancel
          </a>
        </div>
      </Form>
    </>
  )
}
