import type { FastifyRequest } from 'fastify'
import { type ReportStatus, reportStatuses } from '../../enums.ts'
import type { Monitor } from '../../monitors/repository.ts'
import { maxLatencyMs } from '../../reports/writer.ts'
import { toCurl } from '../curl.ts'
import { assertValidFields, type FieldErrors, readText } from '../form.ts'
import { SelectField, TextField } from '../fields.tsx'
import { Copyable, ErrorSummary, Form } from '../ui.tsx'
import { formatStatus, monitorPath } from './ui.tsx'

/** Values as entered, so that a rejected form is shown again without loss. */
type ReportFields = { status: string; latency: string }
export type ReportState = { form: ReportFields; errors: FieldErrors }

export const emptyReportForm: ReportFields = { status: 'UP', latency: '' }

export function readReportForm(body: unknown): ReportFields {
  return { status: readText(body, 'status'), latency: readText(body, 'latency_ms').trim() }
}

/** @throws ApiError 400 */
export function parseReport({ status: entered, latency }: ReportFields) {
  const status = entered as ReportStatus
  const latency_ms = latency === '' ? null : /^\d{1,15}$/.test(latency) ? Number(latency) : NaN
  const isValid = latency_ms === null || latency_ms <= maxLatencyMs
  assertValidFields({
    status: reportStatuses.includes(status) ? undefined : 'Choose a status from the list',
    latency_ms: isValid
      ? undefined
      : 'Enter whole milliseconds, at most 86,400,000, or leave the field empty',
  })
  return { status, latency_ms }
}

type Props = ReportState & { monitor: Monitor; request: FastifyRequest }

export function ReportForm({ monitor, form, errors, request }: Props) {
  const { tag, status_source: source } = monitor
  return (
    <section class="card" aria-labelledby="report">
      <h2 id="report">Report a status</h2>
      {(source === 'incident' || source === 'maintenance') && (
        <p class="muted">
          {source === 'incident' ? 'An open incident' : 'An ongoing maintenance'} determines the status. A
          report takes effect when it ends.
        </p>
      )}
      <Form action={`${monitorPath(tag)}/report`}>
        <ErrorSummary errors={errors} />
        <div class="columns">
          <SelectField
            id="status"
            label="Status now"
            choices={reportStatuses.map((value) => [value, formatStatus(value)])}
            value={form.status}
            error={errors.status}
          />
          <TextField
            id="latency_ms"
            label="Latency in ms (optional)"
            inputMode="numeric"
            value={form.latency}
            error={errors.latency_ms}
          />
        </div>
        <div class="buttons">
          <button>Report</button>
        </div>
      </Form>
      <details>
        <summary>In a terminal</summary>
        <Copyable
          id="report-command"
          label="With a key that has the permission write:monitors"
          text={toCurl(request, `POST /api/monitors/${tag}/data`, { status: 'UP', latency_ms: 120 })}
          hasButton
        />
      </details>
    </section>
  )
}
