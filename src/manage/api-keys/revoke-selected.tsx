import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { invalidRequest } from '../../errors.ts'
import { requirePrincipal } from '../../http/auth.ts'
import { toKeyContext } from '../../http/change-context.ts'
import { revokeKeys } from '../../keys/lifecycle.ts'
import { type ApiKey, findKeys, listActiveSuccessors, type Successor } from '../../keys/repository.ts'
import { isKeyId } from '../../keys/token.ts'
import { ConfirmPage } from '../confirmation.tsx'
import { readText, readTexts } from '../form.ts'
import { sendPage } from '../page.tsx'
import { toListPath } from './list-query.ts'
import { Breadcrumbs, keyPath, keysPath, LastUse, PermissionTags, SuccessorWarning } from './ui.tsx'

export const revokePath = `${keysPath}/revoke`

/** Most keys that one form revokes: those of one page of the list. */
export const maxSelected = 50

const Query = Type.Object({ from: Type.String({ default: '', maxLength: 3_000 }) })

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/revoke', { schema: { querystring: Query } }, async function confirmRevocations(request, reply) {
    const ids = readIds(request.query)
    const keys = (await findKeys(app.db, ids)).filter(({ status }) => status !== 'revoked')
    const successors = await listActiveSuccessors(app.db, keys)
    const isOwnSelected = ids.includes(requirePrincipal(request).id)
    return sendPage(
      request,
      reply,
      { title: 'Revoke keys', section: 'settings' },
      <SelectionPage
        keys={keys}
        ownId={isOwnSelected ? requirePrincipal(request).id : undefined}
        selectedCount={ids.length}
        successors={successors}
        from={request.query.from}
      />,
    )
  })

  app.post('/revoke', { config: { recentLogIn: true } }, async function revokeSelected(request, reply) {
    const { revoked, unchanged } = await revokeKeys(toKeyContext(request), readIds(request.body))
    const counts = { revoked: String(revoked.length), unchanged: String(unchanged.length) }
    return reply.redirect(toListPath(readText(request.body, 'from'), counts), 303)
  })
}

export default routes

/** @throws ApiError 400 */
function readIds(fields: unknown): string[] {
  const ids = [...new Set(readTexts(fields, 'id'))]
  if (!ids.every(isKeyId)) throw invalidRequest('The form is incomplete. Open its page again')
  if (ids.length > maxSelected) throw invalidRequest(`Select at most ${maxSelected} keys`)
  return ids
}

type SelectionPageProps = {
  keys: ApiKey[]
  /** The key that is logged in, if it is selected. */
  ownId: string | undefined
  selectedCount: number
  successors: Successor[]
  /** Query string of the list. */
  from: string
}

function SelectionPage({ keys, ownId, selectedCount, successors, from }: SelectionPageProps) {
  const listPath = toListPath(from)
  const question = `Revoke ${keys.length} ${keys.length === 1 ? 'key' : 'keys'}`
  if (keys.length === 0) {
    return (
      <>
        <Breadcrumbs current="Revoke" />
        <h1>Revoke keys</h1>
        <section class="card form">
          <p>
            {selectedCount === 0
              ? 'No keys are selected. Select the keys to revoke in the list.'
              : 'The selected keys are revoked already.'}
          </p>
          <p>
            <a class="button" href={listPath}>
              Back to the list
            </a>
          </p>
        </section>
      </>
    )
  }
  return (
    <ConfirmPage
      breadcrumbs={<Breadcrumbs current="Revoke" />}
      question={`${question}?`}
      action={revokePath}
      fields={
        <>
          <input type="hidden" name="from" value={from} />
          {keys.map(({ id }) => (
            <input type="hidden" name="id" value={id} key={id} />
          ))}
        </>
      }
      button={question}
      isIrreversible
      cancel={[listPath]}
    >
      <p>
        Every request with {keys.length === 1 ? 'this key' : 'these keys'} is rejected from then on. This
        cannot be undone.
      </p>
      {keys.length < selectedCount && (
        <p class="muted">Selected keys that are revoked already are not listed.</p>
      )}
      {ownId !== undefined && (
        <p class="warning">
          <strong>You are logged in with one of these keys.</strong> Revoking it ends your session.
        </p>
      )}
      <ul class="rows stacked" aria-label="Keys to revoke">
        {keys.map((key) => (
          <li key={key.id}>
            <div>
              <a href={keyPath(key.id)}>{key.name}</a> {key.id === ownId && <span class="tag">you</span>}{' '}
              <code class="muted">{key.id}</code>
            </div>
            <PermissionTags permissions={key.permissions} />
            <div class="muted">
              {key.last_used_at === null ? (
                'Never used'
              ) : (
                <>
                  Last used: <LastUse apiKey={key} />
                </>
              )}
            </div>
          </li>
        ))}
      </ul>
      {successors.length > 0 && <SuccessorWarning successors={successors} subject="A selected key was" />}
    </ConfirmPage>
  )
}
