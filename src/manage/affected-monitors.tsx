import type { FastifyRequest } from 'fastify'
import { useContext } from 'preact/hooks'
import type { MaintenanceImpact } from '../enums.ts'
import { requirePrincipal } from '../http/auth.ts'
import { assertMonitorsInScope, scopeOf } from '../http/permission-guard.ts'
import { listMonitorChoices, type MonitorChoice } from '../monitors/list.ts'
import type { ErrorDetail } from '../errors.ts'
import { allows } from '../permissions.ts'
import { readText } from './form.ts'
import { FieldGroup } from './fields.tsx'
import { Granted, IfAllowed } from './ui.tsx'

/** The monitors of an incident or a maintenance, as entered. */
export type AffectedForm = {
  /** Selected impacts by tag. */
  impacts: Map<string, string>
  /** Text that the listed monitors contain. */
  search: string
}

export type Affected<Impact extends string> = { monitor_tag: string; impact: Impact }

/** Prefix of the fields with the impact on each monitor, before its tag. */
const fieldPrefix = 'impact:'

/** Monitors that the form lists, apart from the selected ones. */
const maxListed = 100

/** Smallest list in which typing a part of the name is faster than reading. */
const minFiltered = 8

export function readAffected(body: unknown): AffectedForm {
  const fields = Object.keys(body ?? {}).filter((name) => name.startsWith(fieldPrefix))
  const selected = fields
    .map((name): [string, string] => [name.slice(fieldPrefix.length), readText(body, name)])
    .filter(([, impact]) => impact !== '')
  return { impacts: new Map(selected), search: readText(body, 'search').trim() }
}

/**
 * True if the form was sent to list other monitors: with the button for it, or with Enter in the search field, which
 * browsers handle like the first button of the form.
 */
export function isMonitorSearch(body: unknown): boolean {
  return readText(body, 'step') === 'search' || readText(body, 'search') !== readText(body, 'searched')
}

export function fillAffected(affected: readonly Affected<string>[]): AffectedForm {
  return {
    impacts: new Map(affected.map(({ monitor_tag: tag, impact }) => [tag, impact])),
    search: '',
  }
}

/** @returns undefined if an impact is not one of the allowed ones. @throws ApiError 403 */
export function parseAffected<Impact extends string>(
  request: FastifyRequest,
  { impacts }: AffectedForm,
  allowed: readonly Impact[],
): Affected<Impact>[] | undefined {
  assertMonitorsInScope(request, [...impacts.keys()])
  const affected = [...impacts].flatMap(([monitor_tag, text]) => {
    const impact = allowed.find((name) => name === text)
    return impact === undefined ? [] : [{ monitor_tag, impact }]
  })
  return affected.length === impacts.size ? affected : undefined
}

/** Words an error of the domain about the monitors. */
export function toAffectedMessage({ path, message }: ErrorDetail, { impacts }: AffectedForm): string {
  const [, , index] = path.split('/')
  if (index === undefined) return `The list ${message}`
  return `There is no monitor with the tag ${[...impacts.keys()][Number(index)] ?? ''}: deselect it`
}

/** Describes the monitors in one line, for comparison with what is saved. */
export function describeAffected({ impacts }: AffectedForm): string {
  return [...impacts]
    .map(([tag, impact]) => `${tag} ${impactNames[impact as MaintenanceImpact]}`)
    .sort()
    .join(', ')
}

/** The values that the fields of the form show. */
export type AffectedChoices = AffectedForm & {
  /** The selected monitors first. */
  listed: MonitorChoice[]
  hasMore: boolean
}

/** Reads the monitors to choose from, in one statement. */
export async function readAffectedChoices(
  request: FastifyRequest,
  form: AffectedForm,
): Promise<AffectedChoices> {
  const tags = [...form.impacts.keys()]
  const isPublic = !allows(requirePrincipal(request).permissions, 'read:monitors')
  const filter = { scope: scopeOf(request), tags, text: form.search, isPublic }
  const found = await listMonitorChoices(request.server.db, filter, maxListed + 1)
  const selected = found.filter(({ tag }) => form.impacts.has(tag))
  const others = found.slice(selected.length)
  const known = new Set(selected.map(({ tag }) => tag))
  const missing = tags
    .filter((tag) => !known.has(tag))
    .map((tag) => ({
      tag,
      name: isPublic ? 'Not public:' : 'No longer exists:',
      enabled: true,
      hidden: false,
    }))
  return {
    ...form,
    listed: [...missing, ...selected, ...others.slice(0, maxListed)],
    hasMore: others.length > maxListed,
  }
}

const impactNames: Record<MaintenanceImpact, string> = {
  DOWN: 'Down',
  DEGRADED: 'Degraded',
  MAINTENANCE: 'Maintenance',
  UP: 'Up',
}

type Props = {
  choices: AffectedChoices
  allowed: readonly MaintenanceImpact[]
  hint: string
  error: string | undefined
}

/** Lists monitors, each with its impact. With more monitors than it lists, they are searched on the server. */
export function AffectedFields({ choices, allowed, hint, error }: Props) {
  const { listed, hasMore, search } = choices
  const isPartial = hasMore || search !== ''
  return (
    <FieldGroup id="monitors" label="Affected monitors" hint={hint} error={error}>
      {isPartial ? (
        <div class="search" role="search">
          <label for="search">Name or tag</label>
          <input id="search" name="search" type="search" value={search} maxLength={255} autocomplete="off" />
          <button name="step" value="search">
            Find
          </button>
          <input type="hidden" name="searched" value={search} />
        </div>
      ) : (
        listed.length >= minFiltered && (
          // Hidden until manage.js has loaded, because filtering a complete list needs a script.
          <div class="search" hidden data-filters-list="monitor-list">
            <label for="filter">Name or tag</label>
            <input id="filter" type="search" autocomplete="off" />
          </div>
        )
      )}
      {listed.length === 0 ? (
        <p class="muted">
          {search === '' ? (
            <>
              There are no monitors yet.{' '}
              <IfAllowed access="write:monitors">
                <a href="/manage/monitors/new">Create a monitor</a>
              </IfAllowed>
            </>
          ) : (
            'No monitors match this text.'
          )}
        </p>
      ) : (
        <ul class="monitor-list" id="monitor-list">
          {listed.map((monitor) => (
            <MonitorRow
              key={monitor.tag}
              monitor={monitor}
              impact={choices.impacts.get(monitor.tag) ?? ''}
              allowed={allowed}
            />
          ))}
        </ul>
      )}
      {hasMore && (
        <p class="hint">More monitors match than are listed. Enter a part of a name or tag to find them.</p>
      )}
    </FieldGroup>
  )
}

type MonitorRowProps = { monitor: MonitorChoice; impact: string; allowed: readonly MaintenanceImpact[] }

function MonitorRow({ monitor: { tag, name, enabled, hidden }, impact, allowed }: MonitorRowProps) {
  return (
    <li>
      <label for={`impact-${tag}`}>
        {name} <code class="muted">{tag}</code>
        {(hidden || !enabled) && <span class="muted"> not public</span>}
      </label>
      <select id={`impact-${tag}`} name={`${fieldPrefix}${tag}`}>
        <option value="">Not affected</option>
        {allowed.map((value) => (
          <option key={value} value={value} selected={value === impact}>
            {impactNames[value]}
          </option>
        ))}
      </select>
    </li>
  )
}

/** The button that Enter in a text field presses: the first of the form, which is not the one of the search. */
export function DefaultButton({ step }: { step: string }) {
  return <button class="default" name="step" value={step} tabIndex={-1} aria-hidden="true" />
}

/** The fields of the selected impacts, for a form that repeats them. */
export function toAffectedFields({ impacts }: AffectedForm): Record<string, string> {
  return Object.fromEntries([...impacts].map(([tag, impact]) => [`${fieldPrefix}${tag}`, impact]))
}

/** Links the monitors of an incident or a maintenance. */
export function AffectedList({ affected }: { affected: readonly Affected<MaintenanceImpact>[] }) {
  if (affected.length === 0) return <span class="muted">None</span>
  return (
    <ul class="affected">
      {affected.map(({ monitor_tag: tag, impact }) => (
        <li key={tag}>
          <MonitorLink tag={tag} /> <ImpactMark impact={impact} />
        </li>
      ))}
    </ul>
  )
}

function MonitorLink({ tag }: { tag: string }) {
  if (!allows(useContext(Granted), 'read:monitors')) return <>{tag}</>
  return <a href={`/manage/monitors/${encodeURIComponent(tag)}`}>{tag}</a>
}

export function ImpactMark({ impact }: { impact: MaintenanceImpact }) {
  return <span class={`status ${impact.toLowerCase()}`}>{impactNames[impact]}</span>
}
