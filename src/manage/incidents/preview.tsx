import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Comment } from '../../incidents/comments.ts'
import type { Incident } from '../../incidents/repository.ts'
import { fillAffected, readAffectedChoices } from '../affected-monitors.tsx'
import { sendPage } from '../page.tsx'
import { Preview, PreviewForm } from '../preview.tsx'
import { Breadcrumbs, TimeAgo } from '../ui.tsx'
import { IncidentState, incidentsPath } from './ui.tsx'

/** Updates that a preview shows. The public page shows all. */
export const previewedCount = 20

type PreviewedComment = Pick<Comment, 'comment' | 'state' | 'commented_at'>

type Previewed = Pick<Incident, 'title' | 'state' | 'monitors'> &
  Partial<Pick<Incident, 'started_at' | 'ended_at' | 'stays_hidden'>>

type Props = Parameters<typeof PreviewForm>[0] & {
  incident: Previewed
  /** Newest first. */
  comments: readonly PreviewedComment[]
  /** The pages between the list and the preview. */
  trail: [name: string, path: string][]
}

/** Sends a page with what the public will read, and the form that publishes it. */
export async function sendPreview(
  request: FastifyRequest,
  reply: FastifyReply,
  { incident, comments, trail, ...form }: Props,
): Promise<FastifyReply> {
  const choices = await readAffectedChoices(request, fillAffected(incident.monitors))
  const now = request.session.now ?? new Date()
  const {
    title,
    state,
    monitors,
    started_at: start,
    ended_at: end,
    stays_hidden: isHidden = false,
  } = incident
  return sendPage(
    request,
    reply,
    { title: `Preview of ${title}`, section: 'incidents' },
    <>
      <Breadcrumbs trail={[['Incidents', incidentsPath], ...trail]} current="Preview" />
      <h1>Preview</h1>
      <Preview
        {...{ title, monitors, choices }}
        resource="incident"
        hiddenBecause={
          start && start > now
            ? 'it has not started'
            : isHidden && monitors.length === 0
              ? 'all monitors that it affected were hidden or disabled'
              : undefined
        }
        summary={
          <>
            <IncidentState state={state} />
            <span class="muted"> · started {start ? <TimeAgo time={start} /> : 'just now'}</span>
            {end && (
              <span class="muted">
                , {end > now ? 'ends' : 'ended'} <TimeAgo time={end} />
              </span>
            )}
          </>
        }
      >
        {comments.length === 0 && <p class="muted">No update yet.</p>}
        {comments.slice(0, previewedCount).map(({ comment, state, commented_at }) => (
          <div key={`${commented_at.getTime()} ${comment}`}>
            <p>
              <IncidentState state={state} />{' '}
              <span class="muted">
                <TimeAgo time={commented_at} />
              </span>
            </p>
            <p class="prose">{comment}</p>
          </div>
        ))}
        {comments.length > previewedCount && <p class="muted">Earlier updates follow.</p>}
      </Preview>
      <PreviewForm {...form} />
    </>,
  )
}
