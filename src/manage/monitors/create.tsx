import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ApiError } from '../../errors.ts'
import { change } from '../../http/change-context.ts'
import { createMonitor } from '../../monitors/repository.ts'
import { TextField } from '../fields.tsx'
import { type FieldErrors, isValidationError } from '../form.ts'
import { sendPage } from '../page.tsx'
import { readFormId, submitOnce } from '../submission.ts'
import { Breadcrumbs, ErrorSummary, Form } from '../ui.tsx'
import { MonitorFields } from './fields.tsx'
import {
  emptyMonitorForm,
  type MonitorForm,
  monitorFormLimitBytes,
  parseMonitor,
  readMonitorForm,
  toMonitorErrors,
} from './form.ts'
import { monitorPath, monitorsPath } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:monitors', tags: { field: 'tag' } } as const

  app.get('/new', { config }, function showForm(request, reply) {
    return sendForm(request, reply, { form: emptyMonitorForm, errors: {} })
  })

  app.post(
    '/new',
    { config: { ...config, showAgain }, bodyLimit: monitorFormLimitBytes },
    async function create(request, reply) {
      const form = readMonitorForm(request.body)
      try {
        const monitor = parseMonitor(form)
        const path = await submitOnce(request, (remember) =>
          change(request, async (change) => {
            const { tag } = await createMonitor(change, monitor)
            return remember(change.trx, `${monitorPath(tag)}?notice=created`)
          }),
        )
        return await reply.redirect(path, 303)
      } catch (error) {
        if (isTagTaken(error)) {
          const errors = { tag: 'Enter another tag: a monitor has this one' }
          return sendForm(request, reply.code(error.status), { form, errors })
        }
        if (!isValidationError(error)) throw error
        return sendForm(request, reply.code(400), { form, errors: toMonitorErrors(error) })
      }
    },
  )
}

export default routes

function showAgain(request: FastifyRequest, reply: FastifyReply) {
  return sendForm(request, reply, { form: readMonitorForm(request.body), errors: {} })
}

function isTagTaken(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 'CONFLICT'
}

type FormState = { form: MonitorForm; errors: FieldErrors }

function sendForm(request: FastifyRequest, reply: FastifyReply, { form, errors }: FormState) {
  return sendPage(
    request,
    reply,
    { title: 'Create a monitor', section: 'monitors' },
    <>
      <Breadcrumbs trail={[['Monitors', monitorsPath]]} current="Create a monitor" />
      <h1>Create a monitor</h1>
      <Form action={`${monitorsPath}/new`} class="card form">
        <input type="hidden" name="form_id" value={readFormId(request.body)} />
        <ErrorSummary errors={errors} />
        <TextField
          id="tag"
          label="Tag"
          hint="Identifies the monitor in the API, for example: website. It cannot be changed."
          value={form.tag}
          maxLength={255}
          error={errors.tag}
          required
        />
        <MonitorFields form={form} errors={errors} />
        <div class="buttons">
          <button class="primary">Create</button>
          <a class="button" href={monitorsPath}>
            Cancel
          </a>
        </div>
      </Form>
    </>,
  )
}
