import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { toChangeContext } from '../../http/change-context.ts'
import { createMaintenance, previewOccurrences } from '../../maintenances/repository.ts'
import { DefaultButton, fillAffected, isMonitorSearch, readAffectedChoices } from '../affected-monitors.tsx'
import { type FieldErrors, isValidationError, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { PreviewButton, PreviewForm } from '../preview.tsx'
import { readFormId, submitOnce } from '../submission.ts'
import { Breadcrumbs, ErrorSummary, Form } from '../ui.tsx'
import { MaintenanceFields, MaintenancePreview, previewedCount } from './fields.tsx'
import {
  emptyMaintenanceForm,
  type MaintenanceForm,
  maintenanceFormLimitBytes,
  parseMaintenance,
  readMaintenanceForm,
  toMaintenanceErrors,
  toMaintenanceFields,
} from './form.ts'
import { maintenancePath, maintenancesPath } from './ui.tsx'

const Query = Type.Object({ monitor: Type.Optional(Type.String({ maxLength: 255 })) })

const page = { title: 'Plan a maintenance', section: 'maintenances' } as const
const action = `${maintenancesPath}/new`
const trail = [['Maintenances', maintenancesPath]] as const

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:incidents' } as const

  app.get('/new', { config, schema: { querystring: Query } }, async function showForm(request, reply) {
    const { monitor } = request.query
    const affected = monitor === undefined ? [] : [{ monitor_tag: monitor, impact: 'MAINTENANCE' }]
    return sendForm(request, reply, { ...emptyMaintenanceForm, affected: fillAffected(affected) }, {})
  })

  app.post(
    '/new',
    { config: { ...config, showAgain }, bodyLimit: maintenanceFormLimitBytes },
    async function create(request, reply) {
      const form = readMaintenanceForm(request.body)
      const step = readText(request.body, 'step')
      if (step === 'edit' || isMonitorSearch(request.body)) return showAgain(request, reply)
      const context = toChangeContext(request)
      try {
        const maintenance = parseMaintenance(request, form)
        if (step === 'save') {
          const path = await submitOnce(request, (remember) =>
            createMaintenance(context, maintenance, (trx, id) =>
              remember(trx, `${maintenancePath(id)}?notice=planned`),
            ),
          )
          return await reply.redirect(path, 303)
        }
        const dates = await previewOccurrences(context, maintenance, previewedCount)
        const choices = await readAffectedChoices(request, { ...form.affected, search: '' })
        return await sendPage(
          request,
          reply,
          page,
          <>
            <Breadcrumbs trail={[...trail, [page.title, action]]} current="Preview" />
            <h1>Preview</h1>
            <MaintenancePreview {...{ maintenance, dates, choices }} />
            <PreviewForm
              action={action}
              fields={{ ...toMaintenanceFields(form), form_id: readFormId(request.body) }}
              submit={['save', 'Save']}
            />
          </>,
        )
      } catch (error) {
        if (!isValidationError(error)) throw error
        return sendForm(request, reply.code(400), form, toMaintenanceErrors(error, form))
      }
    },
  )
}

export default routes

function showAgain(request: FastifyRequest, reply: FastifyReply) {
  return sendForm(request, reply, readMaintenanceForm(request.body), {})
}

async function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  form: MaintenanceForm,
  errors: FieldErrors,
) {
  const choices = await readAffectedChoices(request, form.affected)
  return sendPage(
    request,
    reply,
    page,
    <>
      <Breadcrumbs trail={trail} current={page.title} />
      <h1>Plan a maintenance</h1>
      <Form action={action} class="card form">
        <input type="hidden" name="form_id" value={readFormId(request.body)} />
        <DefaultButton step="preview" />
        <ErrorSummary errors={errors} />
        <MaintenanceFields form={form} errors={errors} choices={choices} isNew />
        <div class="buttons">
          <PreviewButton isPrimary />
          <a class="button" href={maintenancesPath}>
            Cancel
          </a>
        </div>
      </Form>
    </>,
  )
}
