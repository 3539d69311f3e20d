import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { requirePrincipal } from '../../http/auth.ts'
import { toKeyContext } from '../../http/change-context.ts'
import { getKey, revokeKey } from '../../keys/lifecycle.ts'
import { type ApiKey, listActiveSuccessors, type Successor } from '../../keys/repository.ts'
import { KeyParams } from '../../wire/keys.ts'
import { sendPage } from '../page.tsx'
import { ConfirmKeyPage, keyPath, SuccessorWarning } from './ui.tsx'

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/:id/revoke', { schema: { params: KeyParams } }, async function confirmRevocation(request, reply) {
    const key = await getKey(app.db, request.params.id)
    const successors = await listActiveSuccessors(app.db, [key])
    const isOwn = requirePrincipal(request).id === key.id
    return sendPage(
      request,
      reply,
      { title: `Revoke ${key.name}`, section: 'settings' },
      <RevokePage apiKey={key} successors={successors} isOwn={isOwn} />,
    )
  })

  app.post(
    '/:id/revoke',
    { config: { recentLogIn: true }, schema: { params: KeyParams } },
    async function revoke(request, reply) {
      const { id } = await revokeKey(toKeyContext(request), request.params.id)
      return reply.redirect(`${keyPath(id)}?notice=revoked`, 303)
    },
  )
}

export default routes

type RevokePageProps = { apiKey: ApiKey; successors: Successor[]; isOwn: boolean }

function RevokePage({ apiKey, successors, isOwn }: RevokePageProps) {
  return (
    <ConfirmKeyPage
      verb="Revoke"
      apiKey={apiKey}
      isIrreversible
      consequence={
        <>
          Every request with <code>{apiKey.id}</code> is rejected from then on. This cannot be undone.
        </>
      }
      warning={isOwn && 'You are logged in with this key. Revoking it ends your session.'}
    >
      {successors.length > 0 && <SuccessorWarning successors={successors} />}
    </ConfirmKeyPage>
  )
}
