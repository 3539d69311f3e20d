import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { databaseNow } from '../../database/clock.ts'
import { requirePrincipal } from '../../http/auth.ts'
import { toKeyContext } from '../../http/change-context.ts'
import { getKey, rotateKey } from '../../keys/lifecycle.ts'
import type { ExpiryLimits } from '../../keys/expiry.ts'
import type { ApiKey } from '../../keys/repository.ts'
import { generateKeyId } from '../../keys/token.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { KeyParams, RotateKey } from '../../wire/keys.ts'
import { findErrors } from '../../wire/validator.ts'
import { type FieldErrors, isValidationError, readText, toFieldErrors } from '../form.ts'
import { sendPage } from '../page.tsx'
import { SelectField } from '../fields.tsx'
import { ErrorSummary } from '../ui.tsx'
import {
  ExpiryFields,
  type ExpiryForm,
  isExpiryKept,
  parseExpiry,
  readExpiry,
  toExpiryLimits,
} from './expiry.tsx'
import { readKeyId, sendIssuedKey } from './issued.tsx'
import { canRotate, ConfirmKeyPage, keyPath } from './ui.tsx'

const overlaps: [seconds: string, label: string][] = [
  ['0', 'None: the old key expires at once'],
  ['3600', '1 hour'],
  ['86400', '24 hours'],
  ['604800', '7 days'],
]

/** Values as entered. */
type RotationForm = ExpiryForm & { overlapSeconds: string }

const defaults: RotationForm = { overlapSeconds: '86400', expiry: 'keep', expiryDate: '' }

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/:id/rotate', { schema: { params: KeyParams } }, async function confirmRotation(request, reply) {
    const key = await getKey(app.db, request.params.id)
    // The page of the key says why, and links to its successor.
    if (!canRotate(key)) return reply.redirect(keyPath(key.id), 303)
    return sendForm(request, reply, key, { successorId: generateKeyId(), form: defaults, errors: {} })
  })

  app.post(
    '/:id/rotate',
    { config: { showAgain, recentLogIn: true }, schema: { params: KeyParams } },
    async function rotate(request, reply) {
      const { id } = request.params
      const successorId = readKeyId(request.body)
      const form = readForm(request.body)
      try {
        const overlapSeconds = parseOverlap(form)
        const expiresAt = isExpiryKept(form)
          ? undefined
          : parseExpiry(form, toExpiryLimits(request), await databaseNow(app.db))
        const rotated = await rotateKey(toKeyContext(request), id, { overlapSeconds, expiresAt, successorId })
        return await sendIssuedKey(request, reply, rotated, {
          old: rotated.old,
          isOwn: isOwnKey(request, id),
        })
      } catch (error) {
        if (!isValidationError(error)) throw error
        const errors = toFieldErrors(error, ({ message }) => message)
        return sendForm(request, reply.code(400), await getKey(app.db, id), { successorId, form, errors })
      }
    },
  )
}

export default routes

async function showAgain(request: FastifyRequest<{ Params: { id: string } }>, reply: FastifyReply) {
  const { server, params, body } = request
  const key = await getKey(server.db, params.id)
  return sendForm(request, reply, key, { successorId: readKeyId(body), form: readForm(body), errors: {} })
}

function readForm(body: unknown): RotationForm {
  return { overlapSeconds: readText(body, 'overlap_seconds'), ...readExpiry(body, 'keep') }
}

function parseOverlap({ overlapSeconds }: RotationForm): number {
  const seconds = Number(overlapSeconds || NaN)
  const errors = findErrors(RotateKey, { overlap_seconds: seconds })
  if (errors.length > 0) throw fromAjvErrors(errors)
  return seconds
}

function isOwnKey(request: FastifyRequest, id: string): boolean {
  return requirePrincipal(request).id === id
}

type FormState = { successorId: string; form: RotationForm; errors: FieldErrors }

function sendForm(request: FastifyRequest, reply: FastifyReply, key: ApiKey, state: FormState) {
  const page = { title: `Rotate ${key.name}`, section: 'settings' } as const
  const isOwn = isOwnKey(request, key.id)
  return sendPage(
    request,
    reply,
    page,
    <RotatePage apiKey={key} isOwn={isOwn} limits={toExpiryLimits(request)} {...state} />,
  )
}

type RotatePageProps = FormState & { apiKey: ApiKey; isOwn: boolean; limits: ExpiryLimits }

function RotatePage({ apiKey, isOwn, limits, successorId, form, errors }: RotatePageProps) {
  return (
    <ConfirmKeyPage
      verb="Rotate"
      apiKey={apiKey}
      consequence={
        <>
          This creates a new key that replaces <code>{apiKey.id}</code>. It has the same name, description,
          permissions and limits.
        </>
      }
      warning={isOwn && 'You are logged in with this key. Your session ends when the key expires.'}
    >
      <input type="hidden" name="id" value={successorId} />
      <ErrorSummary errors={errors} />
      <div class="columns">
        <SelectField
          id="overlap"
          name="overlap_seconds"
          label="Overlap"
          hint="Both keys work for this long: select none if the key may have leaked. The old key never expires later than it would without rotation."
          choices={overlaps}
          value={form.overlapSeconds}
          error={errors.overlap_seconds}
        />
        <ExpiryFields
          label="Expiry of the new key"
          form={form}
          error={errors.expires_at}
          limits={limits}
          current={apiKey.expires_at}
          isSuccessor
        />
      </div>
    </ConfirmKeyPage>
  )
}
