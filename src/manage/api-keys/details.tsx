import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { useContext } from 'preact/hooks'
import { Type } from 'typebox'
import { type AuditEvent, listAuditPage } from '../../audit/repository.ts'
import { requirePrincipal } from '../../http/auth.ts'
import { adviseKey } from '../../keys/advice.ts'
import { isExpiringSoon } from '../../keys/expiry.ts'
import { getKey } from '../../keys/lifecycle.ts'
import { type ApiKey, listActiveSuccessors, type Successor } from '../../keys/repository.ts'
import { readUsage } from '../../keys/usage.ts'
import { KeyParams } from '../../wire/keys.ts'
import { AuditEvents, auditPath, auditPathOf } from '../audit-events.tsx'
import { sendPage } from '../page.tsx'
import { Advice, toCaller } from './advice.tsx'
import { CopyId, Fact, Form, Now, TimeAgo, TimeAgoOrNever } from '../ui.tsx'
import { EditKeyForm } from './edit.tsx'
import { toFormSettings } from './fields.tsx'
import { fillKeyForm } from './form.ts'
import {
  Breadcrumbs,
  canRotate,
  KeyLink,
  keyPath,
  keysPath,
  LastUse,
  PermissionTags,
  RateLimit,
  Status,
  SuccessorWarning,
  TagsOrAny,
} from './ui.tsx'
import { Usage } from './usage.tsx'

const Query = Type.Object({ notice: Type.Optional(Type.String()) })

const notices = new Map([
  ['saved', 'Changes saved. They apply to every request from now on.'],
  ['logged-out', 'All sessions of this key have ended.'],
  ['unchanged', 'Nothing was changed: the form has the saved values.'],
  ['revoked', 'Key revoked. Every request with it is rejected from now on.'],
])

/** Newest changes that the page of a key shows. */
const historyLength = 10

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.post('/:id/log-out', { schema: { params: KeyParams } }, async function logOut(request, reply) {
    const { id } = request.params
    await app.logOutEverywhere(request, await getKey(app.db, id))
    return requirePrincipal(request).id === id
      ? reply.redirect('/manage/login?notice=logged-out-everywhere', 303)
      : reply.redirect(`${keyPath(id)}?notice=logged-out`, 303)
  })

  app.get('/:id', { schema: { params: KeyParams, querystring: Query } }, async function show(request, reply) {
    const { id } = request.params
    const notice = notices.get(request.query.notice ?? '')

    const apiKey = await getKey(app.db, id)
    const isRevoked = apiKey.status === 'revoked'
    // One after the other, because a request may take one connection at a time.
    const successors = isRevoked ? await listActiveSuccessors(app.db, [apiKey]) : []
    const findings = await adviseKey(app.db, toCaller(request), id)
    await app.keyUsage.flush()
    const usage = await readUsage(app.db, id, { interval: 'day' })
    const history = await listAuditPage(app.db, { target: id, target_type: 'key' }, { limit: historyLength })
    const settings = toFormSettings(request)
    return sendPage(
      request,
      reply,
      { title: apiKey.name, section: 'settings', notice },
      <>
        <Heading apiKey={apiKey} />
        <Relation apiKey={apiKey} successors={successors} />
        <Advice findings={findings} />
        <Facts
          apiKey={apiKey}
          isOwn={requirePrincipal(request).id === id}
          rateLimitMax={settings.rateLimitMax}
        />
        <Usage permissions={apiKey.permissions} usage={usage} />
        {isRevoked ? (
          <p class="muted">
            A revoked key cannot be changed. <a href={`${keysPath}/new`}>Generate a new key</a> if you need
            one.
          </p>
        ) : (
          <section aria-labelledby="edit">
            <h2 id="edit">Edit</h2>
            <EditKeyForm apiKey={apiKey} settings={settings} state={{ form: fillKeyForm(apiKey) }} />
          </section>
        )}
        <History id={id} events={history.data} />
      </>,
    )
  })
}

export default routes

function Heading({ apiKey }: { apiKey: ApiKey }) {
  const { id, name, status } = apiKey
  return (
    <>
      <Breadcrumbs current={name} />
      <div class="heading">
        <h1>{name}</h1>
        <div class="buttons">
          {status === 'active' && (
            <Form action={`${keyPath(id)}/log-out`}>
              <button>Log out everywhere</button>
            </Form>
          )}
          {canRotate(apiKey) && (
            <a class="button" href={`${keyPath(id)}/rotate`}>
              Rotate
            </a>
          )}
          {status !== 'revoked' && (
            <a class="button danger" href={`${keyPath(id)}/revoke`}>
              Revoke
            </a>
          )}
        </div>
      </div>
    </>
  )
}

/** Says what became of a key that was rotated. */
function Relation({ apiKey, successors }: { apiKey: ApiKey; successors: Successor[] }) {
  const { status, rotated_to, expires_at } = apiKey
  if (successors.length > 0) return <SuccessorWarning successors={successors} />
  if (rotated_to === null || status !== 'active') return null
  return (
    <p class="notice">
      This key was rotated. Its successor is <KeyLink id={rotated_to} />.{' '}
      {expires_at && (
        <>
          This key ends <TimeAgo time={expires_at} />
        </>
      )}
    </p>
  )
}

type FactsProps = { apiKey: ApiKey; isOwn: boolean; rateLimitMax: number }

function Facts({ apiKey, isOwn, rateLimitMax }: FactsProps) {
  const { created_by, rotated_from, rotated_to } = apiKey
  return (
    <section class="card" aria-label="Details">
      <dl class="facts">
        <Fact name="ID">
          <CopyId id={apiKey.id} name={apiKey.name} />
        </Fact>
        {apiKey.description !== null && (
          <Fact name="Description">
            <span class="prose">{apiKey.description}</span>
          </Fact>
        )}
        <Fact name="Status">
          <Status status={apiKey.status} />
          {isOwn && <span class="muted"> (you are logged in with this key)</span>}
        </Fact>
        <Fact name="Permissions">
          <PermissionTags permissions={apiKey.permissions} />
        </Fact>
        <Fact name="Monitors">
          <TagsOrAny items={apiKey.monitors} any="All" />
        </Fact>
        <Fact name="Addresses">
          <TagsOrAny items={apiKey.allowed_ips} any="Any" />
        </Fact>
        <Fact name="Limit">
          <RateLimit limit={apiKey.rate_limit} rateLimitMax={rateLimitMax} />
        </Fact>
        <Fact name="Created">
          <TimeAgo time={apiKey.created_at} />
          {created_by !== null && (
            <>
              {' '}
              by <a href={keyPath(created_by)}>{apiKey.created_by_name ?? created_by}</a>
            </>
          )}
        </Fact>
        <Fact name="Last use">
          <LastUse apiKey={apiKey} />
        </Fact>
        <Fact name="Expiry">
          <Expiry apiKey={apiKey} />
        </Fact>
        {apiKey.revoked_at && (
          <Fact name="Revoked">
            <TimeAgo time={apiKey.revoked_at} />
          </Fact>
        )}
        {rotated_to !== null && (
          <Fact name="Replaced by">
            <KeyLink id={rotated_to} />
          </Fact>
        )}
        {rotated_from !== null && (
          <Fact name="Replaces">
            <KeyLink id={rotated_from} />
          </Fact>
        )}
      </dl>
    </section>
  )
}

function Expiry({ apiKey }: { apiKey: ApiKey }) {
  const isSoon = isExpiringSoon(apiKey, useContext(Now))
  return (
    <span class={isSoon ? 'soon' : undefined}>
      <TimeAgoOrNever time={apiKey.expires_at} />
    </span>
  )
}

function History({ id, events }: { id: string; events: AuditEvent[] }) {
  return (
    <section aria-labelledby="history">
      <h2 id="history">History</h2>
      {events.length === 0 ? (
        <p class="muted">No changes of this key are recorded.</p>
      ) : (
        <AuditEvents events={events} label="Changes of this key, newest first" />
      )}
      <p>
        <a href={auditPathOf('key', id)}>All changes of this key</a> ·{' '}
        <a href={`${auditPath}?actor=${id}`}>What this key has changed</a>
      </p>
    </section>
  )
}
