import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { requirePrincipal } from '../../http/auth.ts'
import { toKeyContext } from '../../http/key-context.ts'
import { getKey, rotateKey } from '../../keys/lifecycle.ts'
import type { ApiKey } from '../../keys/repository.ts'
import { generateKeyId } from '../../keys/token.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { KeyParams, RotateKey } from '../../wire/keys.ts'
import { findErrors } from '../../wire/validator.ts'
import { readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { Field } from '../ui.tsx'
import { readKeyId, sendIssuedKey } from './issued.tsx'
import { ConfirmPage } from './ui.tsx'

const overlaps: [seconds: number, label: string][] = [
  [0, 'None: the old key expires at once'],
  [3_600, '1 hour'],
  [86_400, '1 day'],
  [604_800, '7 days'],
]

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/:id/rotate', { schema: { params: KeyParams } }, async function confirmRotation(request, reply) {
    const key = await getKey(app.db, request.params.id)
    const isOwn = requirePrincipal(request).id === key.id
    return sendPage(
      request,
      reply,
      { title: `Rotate ${key.name}`, section: 'settings' },
      <RotatePage apiKey={key} isOwn={isOwn} successorId={generateKeyId()} />,
    )
  })

  app.post('/:id/rotate', { schema: { params: KeyParams } }, async function rotate(request, reply) {
    const { id } = request.params
    const successorId = readKeyId(request.body)
    const overlapSeconds = readOverlap(request.body)
    const rotated = await rotateKey(toKeyContext(request), id, { overlapSeconds, successorId })
    const isOwn = requirePrincipal(request).id === id
    return sendIssuedKey(request, reply, rotated, { old: rotated.old, isOwn })
  })
}

export default routes

function readOverlap(body: unknown): number {
  const seconds = Number(readText(body, 'overlap_seconds') || NaN)
  const errors = findErrors(RotateKey, { overlap_seconds: seconds })
  if (errors.length > 0) throw fromAjvErrors(errors)
  return seconds
}

type RotatePageProps = { apiKey: ApiKey; isOwn: boolean; successorId: string }

function RotatePage({ apiKey, isOwn, successorId }: RotatePageProps) {
  return (
    <ConfirmPage
      verb="Rotate"
      apiKey={apiKey}
      consequence={
        <>
          This creates a new key that replaces <code>{apiKey.id}</code>. It has the same name, permissions,
          limit and expiry.
        </>
      }
      warning={isOwn && 'You are logged in with this key. Your session ends when the key expires.'}
    >
      <input type="hidden" name="id" value={successorId} />
      <Field
        id="overlap"
        label="Overlap"
        hint="Both keys work for this long. The old key never expires later than it would without rotation."
      >
        {(ariaProps) => (
          <select id="overlap" name="overlap_seconds" {...ariaProps}>
            {overlaps.map(([seconds, label]) => (
              <option key={seconds} value={seconds}>
                {label}
              </option>
            ))}
          </select>
        )}
      </Field>
    </ConfirmPage>
  )
}
