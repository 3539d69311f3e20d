import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { toChangeContext } from '../../http/change-context.ts'
import { scopeOf } from '../../http/permission-guard.ts'
import {
  getMaintenance,
  type Maintenance,
  previewOccurrences,
  updateMaintenance,
} from '../../maintenances/repository.ts'
import { IdParams } from '../../wire/ids.ts'
import {
  DefaultButton,
  describeAffected,
  isMonitorSearch,
  readAffectedChoices,
} from '../affected-monitors.tsx'
import { EditForm, type EditState, rejectEdit } from '../edit-form.tsx'
import {
  describeDateTimeField,
  type FieldErrors,
  parseDateTimeField,
  readPrecondition,
  readText,
  toSavedValues,
} from '../form.ts'
import { sendPage } from '../page.tsx'
import { PreviewButton, PreviewForm } from '../preview.tsx'
import { Breadcrumbs } from '../ui.tsx'
import { MaintenanceFields, MaintenancePreview, previewedCount } from './fields.tsx'
import {
  durationUnits,
  fillMaintenanceForm,
  type MaintenanceForm,
  maintenanceFormLimitBytes,
  parseMaintenance,
  readMaintenanceForm,
  toMaintenanceErrors,
  toMaintenanceFields,
} from './form.ts'
import { describeRule, toRule } from './rule.ts'
import { maintenancePath, trailOf } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:incidents' } as const

  app.get('/:id/edit', { config, schema: { params: IdParams } }, async function showForm(request, reply) {
    const maintenance = await getMaintenance(app.db, request.params.id, scopeOf(request))
    const form = fillMaintenanceForm(maintenance)
    return sendForm(request, reply, maintenance, { form })
  })

  app.post(
    '/:id/edit',
    { config: { ...config, showAgain }, bodyLimit: maintenanceFormLimitBytes, schema: { params: IdParams } },
    async function save(request, reply) {
      const { id } = request.params
      const action = `${maintenancePath(id)}/edit`
      const scope = scopeOf(request)
      const form = readMaintenanceForm(request.body)
      const version = readText(request.body, 'version')
      const step = readText(request.body, 'step')
      const stored = await getMaintenance(app.db, id, scope)
      if (step === 'edit' || isMonitorSearch(request.body))
        return sendForm(request, reply, stored, { form, version })
      const context = toChangeContext(request)
      try {
        const maintenance = parseMaintenance(request, form, stored)
        if (step === 'save') {
          const expected = readPrecondition(request.body)
          await updateMaintenance(context, id, maintenance, scope, () => Promise.resolve(true), expected)
          return await reply.redirect(`${maintenancePath(id)}?notice=saved`, 303)
        }
        const dates = await previewOccurrences(context, maintenance, previewedCount)
        const choices = await readAffectedChoices(request, { ...form.affected, search: '' })
        return await sendPage(
          request,
          reply,
          { title: `Edit ${stored.title}`, section: 'maintenances' },
          <>
            <Breadcrumbs trail={[...trailOf(stored), ['Edit', action]]} current="Preview" />
            <h1>Preview</h1>
            <p class="muted">A new schedule replaces the events that have not started.</p>
            <MaintenancePreview {...{ maintenance, dates, choices }} />
            <PreviewForm
              action={action}
              fields={{ ...toMaintenanceFields(form), version }}
              submit={['save', 'Save']}
            />
          </>,
        )
      } catch (error) {
        const state = rejectEdit(error, reply, { form, version }, (invalid) =>
          toMaintenanceErrors(invalid, form),
        )
        return sendForm(request, reply, await getMaintenance(app.db, id, scope), state)
      }
    },
  )
}

export default routes

async function showAgain(request: FastifyRequest<{ Params: { id: number } }>, reply: FastifyReply) {
  const { server, params, body } = request
  const maintenance = await getMaintenance(server.db, params.id, scopeOf(request))
  return sendForm(request, reply, maintenance, {
    form: readMaintenanceForm(body),
    version: readText(body, 'version'),
  })
}

async function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  maintenance: Maintenance,
  state: EditState<MaintenanceForm>,
) {
  const { form, version = maintenance.version, errors = {}, isStale } = state
  const choices = await readAffectedChoices(request, form.affected)
  const messages = isStale ? compare(form, fillMaintenanceForm(maintenance)) : errors
  return sendPage(
    request,
    reply,
    { title: `Edit ${maintenance.title}`, section: 'maintenances' },
    <>
      <Breadcrumbs trail={trailOf(maintenance)} current="Edit" />
      <h1>Edit maintenance</h1>
      <EditForm
        resource="maintenance"
        action={`${maintenancePath(maintenance.id)}/edit`}
        version={version}
        state={state}
        fields={
          <>
            <DefaultButton step="preview" />
            <MaintenanceFields form={form} errors={messages} choices={choices} isNew={false} />
          </>
        }
        buttons={<PreviewButton isPrimary />}
        cancelPath={maintenancePath(maintenance.id)}
      />
    </>,
  )
}

function compare(entered: MaintenanceForm, saved: MaintenanceForm): FieldErrors {
  const toValues = (form: MaintenanceForm) => ({
    title: form.title,
    description: form.description,
    starts_at: describeDateTimeField(form.startsAt),
    duration_seconds: `${form.duration} ${unitOf(form)}`,
    rrule: describeRule(toRule(form) ?? '', parseDateTimeField(form.startsAt) ?? new Date(0)),
    enabled: form.enabled === '' ? 'disabled' : 'enabled',
    monitors: describeAffected(form.affected),
  })
  return toSavedValues(toValues(entered), toValues(saved))
}

function unitOf({ durationUnit }: MaintenanceForm): string {
  return durationUnits.find(([seconds]) => seconds === durationUnit)?.[1].toLowerCase() ?? ''
}
