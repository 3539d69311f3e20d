import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { requirePrincipal } from '../../http/auth.ts'
import { listAdvice } from '../../keys/advice.ts'
import type { AdviceCode, Caller, Finding } from '../../keys/findings.ts'
import { sendPage } from '../page.tsx'
import { Message } from '../ui.tsx'
import { toExpiryLimits } from './expiry.tsx'
import { Breadcrumbs, keyPath, keysPath } from './ui.tsx'

const pageSize = 50

const Query = Type.Object({ cursor: Type.Optional(Type.String({ maxLength: 1_000 })) })

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/advice', { schema: { querystring: Query } }, async function showAdvice(request, reply) {
    const { cursor } = request.query
    const { data, pagination } = await listAdvice(app.db, toCaller(request), { cursor, limit: pageSize })
    return sendPage(
      request,
      reply,
      { title: 'Advice', section: 'settings' },
      <AdvicePage findings={data} isFirst={cursor === undefined} next={pagination.next_cursor} />,
    )
  })
}

export default routes

export function toCaller(request: FastifyRequest): Caller {
  return { callerId: requirePrincipal(request).id, ...toExpiryLimits(request) }
}

type AdvicePageProps = { findings: Finding[]; isFirst: boolean; next: string | null }

function AdvicePage({ findings, isFirst, next }: AdvicePageProps) {
  return (
    <>
      <Breadcrumbs current="Advice" />
      <h1>Advice</h1>
      {findings.length === 0 ? (
        <p class="empty card">{next === null ? 'No advice.' : 'No advice about the newest of these keys.'}</p>
      ) : (
        <section class="card" aria-label="Findings, newest keys first">
          <ul class="rows findings">
            {findings.map((finding) => (
              <li key={`${finding.key_id} ${finding.code}`}>
                <span>
                  <a href={keyPath(finding.key_id)}>{finding.key_name}</a>
                  <span class="muted block">
                    <Message text={finding.message} />
                  </span>
                </span>
                <Actions finding={finding} />
              </li>
            ))}
          </ul>
        </section>
      )}
      {(!isFirst || next !== null) && (
        <nav class="pages" aria-label="Pages">
          {!isFirst && <a href={`${keysPath}/advice`}>Newest keys</a>}
          {next !== null && <a href={`${keysPath}/advice?cursor=${next}`}>Older keys</a>}
        </nav>
      )}
    </>
  )
}

/** Shows the findings about one key on its page. */
export function Advice({ findings }: { findings: Finding[] }) {
  if (findings.length === 0) return null
  return (
    <section class="warning" aria-labelledby="advice">
      <h2 id="advice">Advice</h2>
      <ul class="rows findings">
        {findings.map((finding) => (
          <li key={finding.code}>
            <span>
              <Message text={finding.message} />
            </span>
            <Actions finding={finding} />
          </li>
        ))}
      </ul>
    </section>
  )
}

/** The page of a key that resolves the finding, and the label of its link. */
const actions: Record<AdviceCode, [path: string, label: string][]> = {
  unused_permission: [['#permissions', 'Change permissions']],
  never_expires: [['#expiry', 'Set an expiry']],
  expires_soon: [
    ['/rotate', 'Rotate'],
    ['#expiry', 'Set an expiry'],
  ],
  idle: [['/revoke', 'Revoke']],
  rotated_but_used: [['/revoke', 'Revoke']],
}

function Actions({ finding: { key_id, key_name, code } }: { finding: Finding }) {
  return (
    <span class="actions">
      {actions[code].map(([path, label]) => (
        <a key={path} href={keyPath(key_id) + path} aria-label={`${label}: ${key_name}`}>
          {label}
        </a>
      ))}
    </span>
  )
}
