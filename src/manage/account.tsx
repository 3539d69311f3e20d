import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Principal, requirePrincipal } from '../http/auth.ts'
import { keyPath, PermissionTags, RateLimit, TagsOrAny } from './api-keys/ui.tsx'
import { sendPage } from './page.tsx'
import { Fact, Form, IfAllowed, TimeAgo, TimeAgoOrNever } from './ui.tsx'

/** The key that is logged in, which every key may see, and its sessions. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const config = { permission: 'any-key' } as const

  app.get('/', { config }, function showAccount(request, reply) {
    const principal = requirePrincipal(request)
    return sendPage(
      request,
      reply,
      { title: 'Your key' },
      <>
        <h1>Your key</h1>
        <OwnKey principal={principal} rateLimitMax={app.config.rateLimitMax} />
        <section class="card form" aria-labelledby="sessions">
          <h2 id="sessions">Sessions</h2>
          <p>
            Ends every session of this key, in all browsers, and this one as well. The key stays valid: if it
            has leaked, it must be revoked.
          </p>
          <Form action="/manage/account/log-out-everywhere">
            <div class="buttons">
              <button class="danger">Log out everywhere</button>
            </div>
          </Form>
        </section>
      </>,
    )
  })

  app.post('/log-out-everywhere', { config }, async function logOutEverywhere(request, reply) {
    await app.logOutEverywhere(request, requirePrincipal(request))
    return reply.redirect('/manage/login?notice=logged-out-everywhere', 303)
  })
}

export default routes

export function OwnKey({ principal, rateLimitMax }: { principal: Principal; rateLimitMax: number }) {
  const { id, name, description, permissions, monitors, allowed_ips, rate_limit } = principal
  return (
    <section class="card" aria-label="Details of your key">
      <dl class="facts">
        <Fact name="Name">{name}</Fact>
        <Fact name="ID">
          <code>{id}</code>
        </Fact>
        {description !== null && (
          <Fact name="Description">
            <span class="prose">{description}</span>
          </Fact>
        )}
        <Fact name="Permissions">
          {permissions.length === 0 ? (
            <span class="muted">None</span>
          ) : (
            <PermissionTags permissions={permissions} />
          )}
        </Fact>
        <Fact name="Monitors">
          <TagsOrAny items={monitors} any="All" />
        </Fact>
        <Fact name="Addresses">
          <TagsOrAny items={allowed_ips} any="Any" />
        </Fact>
        <Fact name="Limit">
          <RateLimit limit={rate_limit} rateLimitMax={rateLimitMax} />
        </Fact>
        <Fact name="Created">
          <TimeAgo time={principal.created_at} />
        </Fact>
        <Fact name="Expiry">
          <TimeAgoOrNever time={principal.expires_at} />
        </Fact>
      </dl>
      <IfAllowed access="admin">
        <p>
          <a href={keyPath(id)}>Its usage and changes</a>
        </p>
      </IfAllowed>
    </section>
  )
}
