import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { change } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import { listComments } from '../../incidents/comments.ts'
import { getIncident, type Incident, updateIncident } from '../../incidents/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import { EditForm, type EditState, rejectEdit } from '../edit-form.tsx'
import {
  AffectedFields,
  type AffectedChoices,
  DefaultButton,
  describeAffected,
  isMonitorSearch,
  readAffectedChoices,
} from '../affected-monitors.tsx'
import {
  describeDateTimeField,
  type FieldErrors,
  readPrecondition,
  readText,
  toSavedValues,
} from '../form.ts'
import { sendPage } from '../page.tsx'
import { SaveOrPreview } from '../preview.tsx'
import { DateTimeField, TextField } from '../fields.tsx'
import { Breadcrumbs } from '../ui.tsx'
import {
  fillIncidentForm,
  impactsOf,
  incidentFormLimitBytes,
  type IncidentForm,
  parseIncidentChanges,
  readIncidentForm,
  toIncidentErrors,
  toIncidentFields,
} from './form.ts'
import { previewedCount, sendPreview } from './preview.tsx'
import { incidentPath, trailOf } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:incidents' } as const

  app.get('/:id/edit', { config, schema: { params: IdParams } }, async function showForm(request, reply) {
    const incident = await getIncident(app.db, request.params.id, scopeOf(request))
    const form = fillIncidentForm(incident)
    return sendForm(request, reply, incident, { form })
  })

  app.post(
    '/:id/edit',
    { config: { ...config, showAgain }, bodyLimit: incidentFormLimitBytes, schema: { params: IdParams } },
    async function save(request, reply) {
      const { id } = request.params
      const scope = scopeOf(request)
      const form = readIncidentForm(request.body)
      const version = readText(request.body, 'version')
      const step = readText(request.body, 'step')
      const incident = await getIncident(app.db, id, scope)
      if (step === 'edit' || isMonitorSearch(request.body))
        return sendForm(request, reply, incident, { form, version })
      try {
        const changes = parseIncidentChanges(request, form, incident)
        if (step === 'preview') {
          const limit = previewedCount + 1
          return await sendPreview(request, reply, {
            incident: { ...incident, ...changes },
            comments: await listComments(app.db, id, scope, { limit }),
            trail: [...trailOf(incident).slice(1), ['Edit', `${incidentPath(id)}/edit`]],
            action: `${incidentPath(id)}/edit`,
            fields: { ...toIncidentFields(form), version },
            submit: ['save', 'Save'],
          })
        }
        const expected = readPrecondition(request.body)
        await change(request, (change) => updateIncident(change, id, changes, scope, expected))
      } catch (error) {
        const state = rejectEdit(error, reply, { form, version }, (invalid) =>
          toIncidentErrors(invalid, form),
        )
        return sendForm(request, reply, await getIncident(app.db, id, scope), state)
      }
      return reply.redirect(`${incidentPath(id)}?notice=saved`, 303)
    },
  )
}

export default routes

async function showAgain(request: FastifyRequest<{ Params: { id: number } }>, reply: FastifyReply) {
  const { server, params, body } = request
  const incident = await getIncident(server.db, params.id, scopeOf(request))
  return sendForm(request, reply, incident, {
    form: readIncidentForm(body),
    version: readText(body, 'version'),
  })
}

async function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  incident: Incident,
  state: EditState<IncidentForm>,
) {
  const choices = await readAffectedChoices(request, state.form.affected)
  return sendPage(
    request,
    reply,
    { title: `Edit ${incident.title}`, section: 'incidents' },
    <EditPage incident={incident} choices={choices} state={state} />,
  )
}

type EditPageProps = { incident: Incident; choices: AffectedChoices; state: EditState<IncidentForm> }

function EditPage({ incident, choices, state }: EditPageProps) {
  const { form, version = incident.version, errors = {}, isStale } = state
  const messages = isStale ? compare(form, fillIncidentForm(incident)) : errors
  return (
    <>
      <Breadcrumbs trail={trailOf(incident)} current="Edit" />
      <h1>Edit incident</h1>
      <EditForm
        resource="incident"
        action={`${incidentPath(incident.id)}/edit`}
        version={version}
        state={state}
        fields={<IncidentFields {...{ incident, form, messages, choices }} />}
        buttons={<SaveOrPreview />}
        cancelPath={incidentPath(incident.id)}
      />
    </>
  )
}

type FieldsProps = {
  incident: Incident
  form: IncidentForm
  messages: FieldErrors
  choices: AffectedChoices
}

function IncidentFields({ incident, form, messages, choices }: FieldsProps) {
  return (
    <>
      <DefaultButton step="save" />
      <TextField
        id="title"
        label="Title"
        value={form.title}
        required
        maxLength={255}
        error={messages.title}
      />
      <AffectedFields
        choices={choices}
        allowed={impactsOf(incident)}
        hint="The impact on each affected monitor is its status while the incident is open."
        error={messages.monitors}
      />
      <div class="columns">
        <DateTimeField
          id="started-at"
          name="started_at"
          label="Start (UTC)"
          value={form.startedAt}
          required
          error={messages.started_at}
        />
        <DateTimeField
          id="ended-at"
          name="ended_at"
          label="End (UTC)"
          hint="Empty: no end is known."
          value={form.endedAt}
          error={messages.ended_at}
        />
      </div>
    </>
  )
}

function compare(entered: IncidentForm, saved: IncidentForm): FieldErrors {
  const toValues = ({ title, startedAt, endedAt, affected }: IncidentForm) => ({
    title,
    started_at: describeDateTimeField(startedAt),
    ended_at: describeDateTimeField(endedAt),
    monitors: describeAffected(affected),
  })
  return toSavedValues(toValues(entered), toValues(saved))
}
