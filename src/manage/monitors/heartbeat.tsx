import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import { noHeartbeatUrl } from '../../errors.ts'
import { change } from '../../http/change-context.ts'
import { toHeartbeatUrl } from '../../http/heartbeat-url.ts'
import { siteUrl } from '../../http/site-url.ts'
import { createHeartbeat, deleteHeartbeat, findHeartbeat, type Heartbeat } from '../../monitors/heartbeats.ts'
import { getMonitor, type Monitor } from '../../monitors/repository.ts'
import type { Precondition } from '../../preconditions.ts'
import { ConfirmPage } from '../confirmation.tsx'
import { registerDeletion } from '../deletion.tsx'
import { isConflict, readPrecondition, readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import {
  Breadcrumbs,
  Copyable,
  Fact,
  Form,
  HiddenFields,
  IfAllowed,
  TimeAgo,
  TimeAgoOrNever,
} from '../ui.tsx'
import { monitorPath, MonitorParams, trailOf } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'write:monitors', tags: { param: 'tag' } } as const
  const schema = { params: MonitorParams }

  /** Creates the URL, or replaces the one whose version the form contains. */
  app.post(
    '/:tag/heartbeat',
    { config: { ...config, recentLogIn: replacesUrl }, schema },
    async function create(request, reply) {
      const { tag } = request.params
      // Before the change, because it rejects an invalid Host.
      const base = siteUrl(request)
      const expected: Precondition = replacesUrl(request.body)
        ? readPrecondition(request.body)
        : { noneMatch: 'any' }
      let secret: string
      try {
        secret = await change(request, (change) => createHeartbeat(change, tag, expected))
      } catch (error) {
        // The form was sent before, or another one meanwhile: the URL that was just copied is not replaced.
        if (!isConflict(error)) throw error
        return reply.redirect(`${monitorPath(tag)}?notice=heartbeat-changed`, 303)
      }
      const monitor = await getMonitor(app.db, tag)
      return sendPage(
        request,
        reply.code(201),
        { title: 'Copy the heartbeat URL', section: 'monitors', reloadPath: monitorPath(tag) },
        <IssuedPage monitor={monitor} url={toHeartbeatUrl(base, tag, secret)} />,
      )
    },
  )

  app.get('/:tag/heartbeat/replace', { config, schema }, async function confirmReplacement(request, reply) {
    const { monitor, heartbeat } = await read(request.params)
    const page = 'Replace the heartbeat URL'
    return sendPage(
      request,
      reply,
      { title: page, section: 'monitors' },
      <ConfirmPage
        breadcrumbs={<Breadcrumbs trail={trailOf(monitor)} current={page} />}
        question={`Replace the heartbeat URL of ${monitor.name}?`}
        action={heartbeatPath(monitor.tag)}
        fields={<HiddenFields fields={{ version: heartbeat.version }} />}
        button="Replace"
        isIrreversible
        cancel={[monitorPath(monitor.tag)]}
      >
        <p>Requests to the current URL are 404 from then on: give the new URL to its clients.</p>
        <LastRequest heartbeat={heartbeat} />
      </ConfirmPage>,
    )
  })

  registerDeletion(app, {
    path: '/:tag/heartbeat/delete',
    config,
    params: MonitorParams,
    read,
    remove: (change, { tag }, expected) => deleteHeartbeat(change, tag, expected),
    describe: ({ monitor, heartbeat }) => ({
      section: 'monitors',
      resource: 'heartbeat URL',
      question: `Delete the heartbeat URL of ${monitor.name}?`,
      trail: trailOf(monitor),
      page: 'Delete the heartbeat URL',
      path: heartbeatPath(monitor.tag),
      version: heartbeat.version,
      children: (
        <>
          <p>Requests to the URL are 404 from then on. This cannot be undone.</p>
          <LastRequest heartbeat={heartbeat} />
        </>
      ),
    }),
    nextPath: ({ tag }) => `${monitorPath(tag)}?notice=heartbeat-deleted`,
  })

  /** @throws ApiError 404 */
  async function read({ tag }: Static<typeof MonitorParams>) {
    const monitor = await getMonitor(app.db, tag)
    const heartbeat = await findHeartbeat(app.db, monitor.id)
    if (!heartbeat) throw noHeartbeatUrl()
    return { monitor, heartbeat }
  }
}

export default routes

function heartbeatPath(tag: string): string {
  return `${monitorPath(tag)}/heartbeat`
}

function replacesUrl(body: unknown): boolean {
  return readText(body, 'version') !== ''
}

function LastRequest({ heartbeat: { last_used_at: time } }: { heartbeat: Heartbeat }) {
  return time ? (
    <p>
      Last request: <TimeAgo time={time} />
    </p>
  ) : (
    <p>The URL was never requested.</p>
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
  const path = heartbeatPath(tag)
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
