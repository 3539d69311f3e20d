import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { change } from '../../http/change-context.ts'
import { toHeartbeatUrl } from '../../http/heartbeat-url.ts'
import { siteUrl } from '../../http/site-url.ts'
import { createHeartbeat, deleteHeartbeat, findHeartbeat, type Heartbeat } from '../../monitors/heartbeats.ts'
import { getMonitor, type Monitor } from '../../monitors/repository.ts'
import { readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { Breadcrumbs, Copyable, Fact, Form, IfAllowed, TimeAgo, TimeAgoOrNever } from '../ui.tsx'
import { ConfirmPage, monitorPath, MonitorParams, trailOf } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:monitors', tags: { param: 'tag' } } as const
  const schema = { params: MonitorParams }

  app.get('/:tag/heartbeat/replace', { config, schema }, async function confirmReplacement(request, reply) {
    const monitor = await getMonitor(app.db, request.params.tag)
    const heartbeat = await findHeartbeat(app.db, monitor.id)
    return sendPage(
      request,
      reply,
      { title: 'Replace the heartbeat URL', section: 'monitors' },
      <ConfirmPage
        page="Replace the heartbeat URL"
        label="Replace"
        question={`Replace the heartbeat URL of ${monitor.name}?`}
        action="heartbeat"
        monitor={monitor}
        fields={<ReplacedField heartbeat={heartbeat} />}
      >
        <p>Requests to the current URL are 404 from then on: give the new URL to its clients.</p>
        <LastRequest heartbeat={heartbeat} />
      </ConfirmPage>,
    )
  })

  app.post(
    '/:tag/heartbeat',
    { config: { ...config, recentLogIn: replacesUrl }, schema },
    async function create(request, reply) {
      const { tag } = request.params
      // Before the change, because it rejects an invalid Host.
      const base = siteUrl(request)
      const secret = await change(request, async (change) => {
        const { id } = await getMonitor(change.trx, tag)
        const heartbeat = await findHeartbeat(change.trx, id)
        // Otherwise a reload of the page with the URL would replace the URL that was just copied.
        if (toReplaced(heartbeat) !== readText(request.body, 'replaced')) return undefined
        return createHeartbeat(change, tag)
      })
      if (secret === undefined) return reply.redirect(`${monitorPath(tag)}?notice=heartbeat-exists`, 303)
      const monitor = await getMonitor(app.db, tag)
      return sendPage(
        request,
        reply.code(201),
        { title: 'Copy the heartbeat URL', section: 'monitors', reloadPath: monitorPath(tag) },
        <IssuedPage monitor={monitor} url={toHeartbeatUrl(base, tag, secret)} />,
      )
    },
  )

  app.get('/:tag/heartbeat/delete', { config, schema }, async function confirmDeletion(request, reply) {
    const monitor = await getMonitor(app.db, request.params.tag)
    const heartbeat = await findHeartbeat(app.db, monitor.id)
    return sendPage(
      request,
      reply,
      { title: 'Delete the heartbeat URL', section: 'monitors' },
      <ConfirmPage
        page="Delete the heartbeat URL"
        label="Delete"
        question={`Delete the heartbeat URL of ${monitor.name}?`}
        action="heartbeat/delete"
        monitor={monitor}
      >
        <p>Requests to the URL are 404 from then on. This cannot be undone.</p>
        <LastRequest heartbeat={heartbeat} />
      </ConfirmPage>,
    )
  })

  app.post(
    '/:tag/heartbeat/delete',
    { config: { ...config, recentLogIn: true }, schema },
    async function remove(request, reply) {
      const { tag } = request.params
      await change(request, (change) => deleteHeartbeat(change, tag))
      return reply.redirect(`${monitorPath(tag)}?notice=heartbeat-deleted`, 303)
    },
  )
}

export default routes

/** Identifies the URL that a form replaces. Empty: none. */
function toReplaced(heartbeat: Heartbeat | undefined): string {
  return heartbeat ? String(heartbeat.created_at.getTime()) : ''
}

function replacesUrl(body: unknown): boolean {
  return readText(body, 'replaced') !== ''
}

function ReplacedField({ heartbeat }: { heartbeat: Heartbeat | undefined }) {
  return <input type="hidden" name="replaced" value={toReplaced(heartbeat)} />
}

function LastRequest({ heartbeat }: { heartbeat: Heartbeat | undefined }) {
  if (!heartbeat?.last_used_at) return <p>The URL was never requested.</p>
  return (
    <p>
      Last request: <TimeAgo time={heartbeat.last_used_at} />
    </p>
  )
}

/** The only page that shows the URL. */
function IssuedPage({ monitor, url }: { monitor: Monitor; url: string }) {
  return (
    <>
      <Breadcrumbs trail={trailOf(monitor)} current="Heartbeat URL" />
      <h1>Copy the heartbeat URL</h1>
      <section class="card issued">
        <p class="warning">
          <strong>Copy the URL now: it won’t be shown again.</strong> It contains a secret, and needs no key.
        </p>
        <Copyable id="heartbeat-url" label={`Reports that ${monitor.name} is up`} text={url} hasButton />
        <Copyable
          id="crontab"
          label="In crontab: runs a job at 03:00, and reports whether it succeeded"
          text={toCrontabLines(url)}
          hasButton
        />
        <p class="muted">
          {monitor.stale_after_seconds === null
            ? 'A missing report changes nothing yet: to notice a job that no longer runs, edit the monitor, and set for how long a report is valid.'
            : `A report is valid for ${monitor.stale_after_seconds} seconds.`}
        </p>
        <a class="button" href={monitorPath(monitor.tag)}>
          Done
        </a>
      </section>
    </>
  )
}

function toCrontabLines(url: string): string {
  return (
    `HEARTBEAT=${url}\n` +
    '0 3 * * * /path/to/job && F= || F=/fail; curl -fsS -m 10 --retry 3 -o /dev/null "$HEARTBEAT$F"'
  )
}

/** The part of a monitor's page about its heartbeat URL. */
export function HeartbeatCard({ tag, heartbeat }: { tag: string; heartbeat: Heartbeat | undefined }) {
  const path = `${monitorPath(tag)}/heartbeat`
  return (
    <section class="card" aria-labelledby="heartbeat">
      <h2 id="heartbeat">Heartbeat URL</h2>
      {heartbeat ? (
        <>
          <dl class="facts">
            <Fact name="Created">
              <TimeAgo time={heartbeat.created_at} />
            </Fact>
            <Fact name="Last request">
              <TimeAgoOrNever time={heartbeat.last_used_at} />
            </Fact>
          </dl>
          <IfAllowed access="write:monitors">
            <div class="buttons">
              <a class="button" href={`${path}/replace`}>
                Replace
              </a>
              <a class="button danger" href={`${path}/delete`} aria-label="Delete the heartbeat URL">
                Delete
              </a>
            </div>
          </IfAllowed>
        </>
      ) : (
        <>
          <p class="muted">
            A URL that reports the status of this monitor without a key, for cron jobs and devices that cannot
            send a header.
          </p>
          <IfAllowed access="write:monitors">
            <Form action={path}>
              <ReplacedField heartbeat={undefined} />
              <div class="buttons">
                <button>Create a heartbeat URL</button>
              </div>
            </Form>
          </IfAllowed>
        </>
      )}
    </section>
  )
}
