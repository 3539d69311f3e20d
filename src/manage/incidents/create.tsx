import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { impacts } from '../../enums.ts'
import { change } from '../../http/change-context.ts'
import { createIncident, type NewIncident } from '../../incidents/repository.ts'
import {
  AffectedFields,
  type AffectedChoices,
  DefaultButton,
  fillAffected,
  isMonitorSearch,
  readAffectedChoices,
} from '../affected-monitors.tsx'
import { type FieldErrors, isValidationError, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { PreviewButton } from '../preview.tsx'
import { readFormId, submitOnce } from '../submission.ts'
import { DateTimeField, TextField } from '../fields.tsx'
import { Breadcrumbs, ErrorSummary, Form } from '../ui.tsx'
import {
  emptyIncidentForm,
  incidentFormLimitBytes,
  type IncidentForm,
  parseNewIncident,
  readIncidentForm,
  toIncidentErrors,
  toIncidentFields,
} from './form.ts'
import { sendPreview } from './preview.tsx'
import { CommentField, incidentPath, incidentsPath, StateField } from './ui.tsx'

const Query = Type.Object({ monitor: Type.Optional(Type.String({ maxLength: 255 })) })

const page = { title: 'Open an incident', section: 'incidents' } as const
const action = `${incidentsPath}/new`

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:incidents' } as const

  app.get('/new', { config, schema: { querystring: Query } }, async function showForm(request, reply) {
    const { monitor } = request.query
    const affected = fillAffected(monitor === undefined ? [] : [{ monitor_tag: monitor, impact: 'DOWN' }])
    return sendForm(request, reply, { ...emptyIncidentForm, affected }, {})
  })

  app.post(
    '/new',
    { config: { ...config, showAgain }, bodyLimit: incidentFormLimitBytes },
    async function create(request, reply) {
      const form = readIncidentForm(request.body)
      const step = readText(request.body, 'step')
      if (step === 'edit' || isMonitorSearch(request.body)) return showAgain(request, reply)
      try {
        const incident = parseNewIncident(request, form)
        if (step !== 'publish') return await previewIncident(request, reply, form, incident)
        const path = await submitOnce(request, (remember) =>
          change(request, async (change) => {
            const id = await createIncident(change, incident)
            return remember(change.trx, `${incidentPath(id)}?notice=opened`)
          }),
        )
        return await reply.redirect(path, 303)
      } catch (error) {
        if (!isValidationError(error)) throw error
        return sendForm(request, reply.code(400), form, toIncidentErrors(error, form))
      }
    },
  )
}

export default routes

function showAgain(request: FastifyRequest, reply: FastifyReply) {
  return sendForm(request, reply, readIncidentForm(request.body), {})
}

async function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  form: IncidentForm,
  errors: FieldErrors,
) {
  const choices = await readAffectedChoices(request, form.affected)
  const formId = readFormId(request.body)
  return sendPage(request, reply, page, <NewIncidentPage {...{ form, formId, errors, choices }} />)
}

type FormProps = { form: IncidentForm; formId: string; errors: FieldErrors; choices: AffectedChoices }

function NewIncidentPage({ form, formId, errors, choices }: FormProps) {
  return (
    <>
      <Breadcrumbs trail={[['Incidents', incidentsPath]]} current={page.title} />
      <h1>Open an incident</h1>
      <Form action={action} class="card form">
        <input type="hidden" name="form_id" value={formId} />
        <DefaultButton step="preview" />
        <ErrorSummary errors={errors} />
        <TextField
          id="title"
          label="Title"
          hint="What readers notice, for example: Checkout is slow"
          value={form.title}
          required
          maxLength={255}
          autofocus={Object.keys(errors).length === 0}
          error={errors.title}
        />
        <AffectedFields
          choices={choices}
          allowed={impacts}
          hint="Choose the impact on each affected monitor. It is their status while the incident is open."
          error={errors.monitors}
        />
        <CommentField
          label="First update"
          hint="Optional: what you know, and when you will report again."
          value={form.comment}
          error={errors.comment}
        />
        <div class="columns">
          <StateField label="State" value={form.state} error={errors.state} />
          <DateTimeField
            id="started-at"
            name="started_at"
            label="Start (UTC)"
            hint="Leave empty for now."
            value={form.startedAt}
            error={errors.started_at}
          />
        </div>
        <div class="buttons">
          <PreviewButton isPrimary />
          <a class="button" href={incidentsPath}>
            Cancel
          </a>
        </div>
      </Form>
    </>
  )
}

function previewIncident(
  request: FastifyRequest,
  reply: FastifyReply,
  form: IncidentForm,
  { title, state = 'INVESTIGATING', monitors = [], comment, started_at }: NewIncident,
) {
  const commented_at = request.session.now ?? new Date()
  return sendPreview(request, reply, {
    incident: { title, state, monitors, ...(started_at && { started_at }) },
    comments: comment === undefined ? [] : [{ comment, state, commented_at }],
    trail: [[page.title, action]],
    action,
    fields: { ...toIncidentFields(form), form_id: readFormId(request.body) },
    submit: ['publish', 'Publish'],
  })
}
