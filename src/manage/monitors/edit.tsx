import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { change } from '../../http/change-context.ts'
import { getMonitor, type Monitor, updateMonitor } from '../../monitors/repository.ts'
import { EditForm, type EditState, rejectEdit } from '../edit-form.tsx'
import { type FieldErrors, readPrecondition, readText, toSavedValues } from '../form.ts'
import { sendPage } from '../page.tsx'
import { Breadcrumbs } from '../ui.tsx'
import { MonitorFields } from './fields.tsx'
import {
  fillMonitorForm,
  type MonitorForm,
  monitorFormLimitBytes,
  parseMonitor,
  readMonitorForm,
  toMonitorErrors,
} from './form.ts'
import { monitorPath, MonitorParams, trailOf } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:monitors', tags: { param: 'tag' } } as const
  const schema = { params: MonitorParams }

  app.get('/:tag/edit', { config, schema }, async function showForm(request, reply) {
    const monitor = await getMonitor(app.db, request.params.tag)
    return sendForm(request, reply, monitor, { form: fillMonitorForm(monitor) })
  })

  app.post(
    '/:tag/edit',
    { config: { ...config, showAgain }, bodyLimit: monitorFormLimitBytes, schema },
    async function save(request, reply) {
      const { tag } = request.params
      const form = { ...readMonitorForm(request.body), tag }
      try {
        const changes = parseMonitor(form)
        const expected = readPrecondition(request.body)
        await change(request, (change) => updateMonitor(change, tag, changes, { expected }))
      } catch (error) {
        const entered = { form, version: readText(request.body, 'version') }
        const state = rejectEdit(error, reply, entered, toMonitorErrors)
        return sendForm(request, reply, await getMonitor(app.db, tag), state)
      }
      return reply.redirect(`${monitorPath(tag)}?notice=saved`, 303)
    },
  )
}

export default routes

async function showAgain(request: FastifyRequest<{ Params: { tag: string } }>, reply: FastifyReply) {
  const monitor = await getMonitor(request.server.db, request.params.tag)
  const form = { ...readMonitorForm(request.body), tag: monitor.tag }
  return sendForm(request, reply, monitor, { form, version: readText(request.body, 'version') })
}

function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  monitor: Monitor,
  state: EditState<MonitorForm>,
) {
  const { form, version = monitor.version, errors = {}, isStale } = state
  const messages = isStale ? compare(form, fillMonitorForm(monitor)) : errors
  return sendPage(
    request,
    reply,
    { title: `Edit ${monitor.name}`, section: 'monitors' },
    <>
      <Breadcrumbs trail={trailOf(monitor)} current="Edit" />
      <h1>Edit monitor</h1>
      <EditForm
        resource="monitor"
        action={`${monitorPath(monitor.tag)}/edit`}
        version={version}
        state={state}
        fields={<MonitorFields form={form} errors={messages} />}
        buttons={<button class="primary">Save</button>}
        cancelPath={monitorPath(monitor.tag)}
      />
    </>,
  )
}

function compare(entered: MonitorForm, saved: MonitorForm): FieldErrors {
  return toSavedValues(toTexts(entered), toTexts(saved))
}

function toTexts(form: MonitorForm): Record<string, string> {
  const toText = (isChecked: boolean) => (isChecked ? 'yes' : 'no')
  return {
    name: form.name,
    description: form.description,
    category_name: form.categoryName,
    external_url: form.externalUrl,
    default_status: form.defaultStatus,
    stale_after_seconds: form.staleAfter,
    degraded_counts_as_down: toText(form.degradedCountsAsDown),
    enabled: toText(form.enabled),
    hidden: toText(form.hidden),
  }
}
