import type { FastifyRequest } from 'fastify'
import { type Impact, impacts, type State, states } from '../../enums.ts'
import type { ApiError } from '../../errors.ts'
import type { Comment, CommentChanges } from '../../incidents/comments.ts'
import type { Incident, NewIncident } from '../../incidents/repository.ts'
import {
  type AffectedForm,
  fillAffected,
  parseAffected,
  readAffected,
  toAffectedFields,
  toAffectedMessage,
} from '../affected-monitors.tsx'
import {
  assertValidFields,
  type FieldErrors,
  parseDateTimeField,
  readLines,
  readText,
  toDateTimeField,
  toFieldErrors,
} from '../form.ts'

/** Longest body of a form with the longest comment and the most monitors, percent-encoded. */
export const incidentFormLimitBytes = 524_288

/** Values as entered, so that a rejected form is shown again without loss. */
export type IncidentForm = {
  title: string
  /** Only for a new incident. */
  state: string
  /** Only for a new incident. */
  comment: string
  startedAt: string
  endedAt: string
  affected: AffectedForm
}

export const emptyIncidentForm: IncidentForm = {
  title: '',
  state: 'INVESTIGATING',
  comment: '',
  startedAt: '',
  endedAt: '',
  affected: fillAffected([]),
}

export function readIncidentForm(body: unknown): IncidentForm {
  return {
    title: readText(body, 'title').trim(),
    state: readText(body, 'state'),
    comment: readLines(body, 'comment'),
    startedAt: readText(body, 'started_at'),
    endedAt: readText(body, 'ended_at'),
    affected: readAffected(body),
  }
}

export function fillIncidentForm({ title, started_at, ended_at, monitors }: Incident): IncidentForm {
  return {
    ...emptyIncidentForm,
    title,
    startedAt: toDateTimeField(started_at),
    endedAt: toDateTimeField(ended_at),
    affected: fillAffected(monitors),
  }
}

/** The fields of the form, by their names. */
export function toIncidentFields(form: IncidentForm): Record<string, string> {
  const { title, state, comment, startedAt, endedAt, affected } = form
  return {
    title,
    state,
    comment,
    started_at: startedAt,
    ended_at: endedAt,
    ...toAffectedFields(affected),
  }
}

const messages = {
  title: 'Enter a title of 1 to 255 characters',
  state: 'Choose a state from the list',
  monitors: 'Choose an impact from the list',
  comment: 'Enter at most 10,000 characters',
  time: 'Enter a day and a time, in UTC',
}

/** @throws ApiError 400, 403 if it names a monitor that the key may not use */
export function parseNewIncident(request: FastifyRequest, form: IncidentForm): NewIncident {
  const state = states.find((name) => name === form.state)
  const monitors = parseAffected(request, form.affected, impacts)
  const started_at = form.startedAt === '' ? undefined : parseDateTimeField(form.startedAt)
  assertValidFields({
    title: form.title === '' ? messages.title : undefined,
    state: state ? undefined : messages.state,
    monitors: monitors ? undefined : messages.monitors,
    started_at: form.startedAt !== '' && !started_at ? messages.time : undefined,
  })
  return { title: form.title, state, started_at, monitors, comment: form.comment || undefined }
}

/**
 * Returns the fields of an existing incident, which the form may have changed. Times that show the same minute are kept,
 * because the form has no seconds. @throws ApiError as parseNewIncident
 */
export function parseIncidentChanges(request: FastifyRequest, form: IncidentForm, before: Incident) {
  const monitors = parseAffected(request, form.affected, impactsOf(before))
  const parseTime = (text: string, current: Date | null) =>
    text === toDateTimeField(current) ? current : text === '' ? null : parseDateTimeField(text)
  const started_at = parseTime(form.startedAt, before.started_at)
  const ended_at = parseTime(form.endedAt, before.ended_at)
  assertValidFields({
    title: form.title === '' ? messages.title : undefined,
    monitors: monitors ? undefined : messages.monitors,
    started_at: started_at ? undefined : messages.time,
    ended_at: ended_at === undefined ? messages.time : undefined,
  })
  if (!started_at || ended_at === undefined || !monitors)
    throw new Error('A form that passed validation is incomplete')
  return { title: form.title, started_at, ended_at, monitors }
}

/** Impacts that the form offers. Kener clients may have listed a monitor with the impact UP. */
export function impactsOf({ monitors }: Pick<Incident, 'monitors'>): (Impact | 'UP')[] {
  return monitors.some(({ impact }) => impact === 'UP') ? [...impacts, 'UP'] : [...impacts]
}

/** Replaces messages of the API, which name fields of JSON. */
export function toIncidentErrors(error: ApiError, form: IncidentForm): FieldErrors {
  return toFieldErrors(error, (detail) => {
    const { path, message } = detail
    if (path === '/title') return messages.title
    if (path === '/comment') return messages.comment
    if (message === 'must not be after ended_at') return 'The start must not be after the end'
    if (message === 'must not be before started_at') return 'The end must not be before the start'
    return path.startsWith('/monitors/') ? toAffectedMessage(detail, form.affected) : message
  })
}

/** A comment as entered. An empty state keeps the state of the incident. */
export type CommentForm = { comment: string; state: string; commentedAt: string }

export const emptyCommentForm: CommentForm = { comment: '', state: '', commentedAt: '' }

export function readCommentForm(body: unknown): CommentForm {
  return {
    comment: readLines(body, 'comment'),
    state: readText(body, 'state'),
    commentedAt: readText(body, 'commented_at'),
  }
}

/** The fields of the form, by their names. */
export function toCommentFields({ comment, state, commentedAt }: CommentForm): Record<string, string> {
  return { comment, state, commented_at: commentedAt }
}

export type NewComment = { comment: string; state?: State | undefined }

/** @throws ApiError 400 */
export function parseNewComment({ comment, state: entered }: CommentForm): NewComment {
  const state = states.find((name) => name === entered)
  assertValidFields({
    comment: comment === '' ? 'Enter a text' : undefined,
    state: entered !== '' && !state ? messages.state : undefined,
  })
  return { comment, state }
}

/**
 * Returns what the form changes. A state that is not changed is not written, because it would become the state of an
 * incident that was resolved without a comment. The form does not show the seconds of the time. @throws ApiError 400
 */
export function parseCommentChanges(form: CommentForm, before: Comment): CommentChanges {
  const { comment, state } = parseNewComment(form)
  const isKept = form.commentedAt === toDateTimeField(before.commented_at)
  const commented_at = isKept ? undefined : parseDateTimeField(form.commentedAt)
  assertValidFields({ commented_at: isKept || commented_at ? undefined : messages.time })
  return { comment, state: state === before.state ? undefined : state, commented_at }
}

export function toCommentErrors(error: ApiError): FieldErrors {
  return toFieldErrors(error, ({ path, message }) =>
    path === '/comment' && message.startsWith('must') ? messages.comment : message,
  )
}
