import type { Monitor } from '../../monitors/repository.ts'
import { auditPathOf } from '../audit-events.tsx'
import { Breadcrumbs, Fact, Form, IfAllowed, PublicLink, TimeAgo } from '../ui.tsx'
import {
  formatStatus,
  monitorPath,
  monitorsPath,
  MonitorStatus,
  StatusReason,
  VisibilityTags,
} from './ui.tsx'

/** Buttons that change one attribute. */
export const switches = [
  { action: 'hide', label: 'Hide', changes: { hidden: true } },
  { action: 'show', label: 'Stop hiding', changes: { hidden: false } },
  { action: 'disable', label: 'Disable', changes: { enabled: false } },
  { action: 'enable', label: 'Enable', changes: { enabled: true } },
]

export function Heading({ monitor }: { monitor: Monitor }) {
  const { tag, name, status, enabled, hidden } = monitor
  const path = monitorPath(tag)
  const offered = [hidden ? 'show' : 'hide', enabled ? 'disable' : 'enable']
  return (
    <>
      <Breadcrumbs trail={[['Monitors', monitorsPath]]} current={name} />
      <div class="heading">
        <div>
          <h1>{name}</h1>
          <p class="muted">
            <MonitorStatus status={status} />{' '}
            <StatusReason source={monitor.status_source} lastReport={monitor.last_report} />{' '}
            <VisibilityTags monitor={monitor} />
          </p>
        </div>
        <div class="buttons">
          <PublicLink path="/#systems" isPublic={enabled && !hidden} />
          <IfAllowed access="write:monitors">
            <a class="button" href={`${path}/edit`}>
              Edit
            </a>
            {switches
              .filter(({ action }) => offered.includes(action))
              .map(({ action, label }) => (
                <Form key={action} action={`${path}/${action}`}>
                  <button>{label}</button>
                </Form>
              ))}
          </IfAllowed>
          <IfAllowed access="delete:monitors">
            <a class="button danger" href={`${path}/delete`}>
              Delete
            </a>
          </IfAllowed>
        </div>
      </div>
    </>
  )
}

export function Facts({ monitor }: { monitor: Monitor }) {
  const { tag, description, category_name: category, external_url: url, stale_after_seconds: stale } = monitor
  return (
    <section class="card" aria-labelledby="details">
      <h2 id="details">Details</h2>
      <dl class="facts">
        <Fact name="Tag">
          <code>{tag}</code>
        </Fact>
        {description !== null && description !== '' && (
          <Fact name="Description">
            <span class="prose">{description}</span>
          </Fact>
        )}
        {category !== null && <Fact name="Category">{category}</Fact>}
        {url !== null && url !== '' && (
          <Fact name="Link">
            {/^https?:\/\//i.test(url) ? (
              <a href={url} rel="noreferrer nofollow">
                {url}
              </a>
            ) : (
              url
            )}
          </Fact>
        )}
        <Fact name="Reports">
          {stale === null ? 'valid until the next one' : `valid for ${stale} seconds`}, otherwise{' '}
          {formatStatus(monitor.default_status).toLowerCase()}
        </Fact>
        <Fact name="Degraded minutes">
          {monitor.degraded_counts_as_down ? 'lower the uptime' : 'do not lower the uptime'}
        </Fact>
        <Fact name="Created">
          <TimeAgo time={monitor.created_at} />
        </Fact>
        <Fact name="Changed">
          <TimeAgo time={monitor.updated_at} />
        </Fact>
      </dl>
      <IfAllowed access="admin">
        <p>
          <a href={auditPathOf('monitor', tag)}>All changes of this monitor</a>
        </p>
      </IfAllowed>
    </section>
  )
}
