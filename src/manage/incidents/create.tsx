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
  HiddenAffected,
  ImpactMark,
  isMonitorSearch,
  readAffectedChoices,
} from '../affected-monitors.tsx'
import { type FieldErrors, isValidationError, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { DateTimeField, ErrorSummary, Field, Form, TimeAgo } from '../ui.tsx'
import {
  emptyIncidentForm,
  incidentFormLimitBytes,
  type IncidentForm,
  parseNewIncident,
  readIncidentForm,
  toIncidentErrors,
} from './form.ts'
import { Breadcrumbs, CommentField, incidentPath, IncidentState, incidentsPath, StateField } from './ui.tsx'

const Query = Type.Object({ monitor: Type.Optional(Type.String({ maxLength: 255 })) })

const page = { title: 'Open an incident', section: 'incidents' } as const

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
        if (step !== 'publish') return await sendPreview(request, reply, form, incident)
        const id = await change(request, (change) => createIncident(change, incident))
        return await reply.redirect(`${incidentPath(id)}?notice=opened`, 303)
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
  return sendPage(request, reply, page, <NewIncidentPage form={form} errors={errors} choices={choices} />)
}

type FormProps = { form: IncidentForm; errors: FieldErrors; choices: AffectedChoices }

function NewIncidentPage({ form, errors, choices }: FormProps) {
  return (
    <>
      <Breadcrumbs current="Open an incident" />
      <h1>Open an incident</h1>
      <Form action={`${incidentsPath}/new`} class="card form">
        <DefaultButton step="preview" />
        <ErrorSummary errors={errors} />
        <Field
          id="title"
          label="Title"
          hint="What readers notice, for example: Checkout is slow"
          error={errors.title}
        >
          {(ariaProps) => (
            <input
              id="title"
              name="title"
              value={form.title}
              required
              maxLength={255}
              autocomplete="off"
              autofocus={Object.keys(errors).length === 0}
              {...ariaProps}
            />
          )}
        </Field>
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
          <button class="primary" name="step" value="preview">
            Preview
          </button>
          <a class="button" href={incidentsPath}>
            Cancel
          </a>
        </div>
      </Form>
    </>
  )
}

async function sendPreview(
  request: FastifyRequest,
  reply: FastifyReply,
  form: IncidentForm,
  incident: NewIncident,
) {
  const choices = await readAffectedChoices(request, { ...form.affected, search: '' })
  return sendPage(
    request,
    reply,
    page,
    <PreviewPage form={form} incident={incident} choices={choices} startedAt={incident.started_at} />,
  )
}

type PreviewProps = {
  form: IncidentForm
  incident: NewIncident
  choices: AffectedChoices
  startedAt: Date | undefined
}

/** Shows what the public page shows of the incident. Contains the form, so that exactly this is published. */
function PreviewPage({ form, incident, choices, startedAt }: PreviewProps) {
  const { title, state = 'INVESTIGATING', monitors = [], comment } = incident
  const publicNames = new Map(
    choices.listed.filter(({ enabled, hidden }) => enabled && !hidden).map(({ tag, name }) => [tag, name]),
  )
  const shown = monitors.filter(({ monitor_tag: tag }) => publicNames.has(tag))
  return (
    <>
      <Breadcrumbs current="Preview" />
      <h1>Preview</h1>
      {monitors.length > 0 && shown.length === 0 ? (
        <p class="warning">
          The public cannot see this incident, because it affects only monitors that are hidden or disabled.
        </p>
      ) : (
        <p class="muted">
          This is what the public reads.
          {shown.length < monitors.length && ' Monitors that are hidden or disabled are not shown.'}
        </p>
      )}
      <article class="card form" aria-label="Preview of the incident">
        <h2>{title}</h2>
        <p>
          <IncidentState state={state} />
          <span class="muted"> · started {startedAt ? <TimeAgo time={startedAt} /> : 'just now'}</span>
        </p>
        {shown.length > 0 && (
          <ul class="affected">
            {shown.map(({ monitor_tag: tag, impact }) => (
              <li key={tag}>
                {publicNames.get(tag)} <ImpactMark impact={impact} />
              </li>
            ))}
          </ul>
        )}
        {comment === undefined ? <p class="muted">No update yet.</p> : <p class="prose">{comment}</p>}
      </article>
      <Form action={`${incidentsPath}/new`}>
        <input type="hidden" name="title" value={form.title} />
        <input type="hidden" name="comment" value={form.comment} />
        <input type="hidden" name="state" value={form.state} />
        <input type="hidden" name="started_at" value={form.startedAt} />
        <HiddenAffected {...form.affected} />
        <div class="buttons">
          <button class="primary" name="step" value="publish">
            Publish
          </button>
          <button name="step" value="edit">
            Back to the form
          </button>
        </div>
      </Form>
    </>
  )
}
