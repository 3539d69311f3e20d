import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ComponentChildren } from 'preact'
import type { TSchema } from 'typebox'
import type { Change } from '../audit/transaction.ts'
import { change } from '../http/change-context.ts'
import type { Access } from '../permissions.ts'
import type { Precondition } from '../preconditions.ts'
import { ConfirmPage } from './confirmation.tsx'
import { isConflict, readPrecondition } from './form.ts'
import { type Page, sendPage } from './page.tsx'
import { Breadcrumbs, ConflictSummary, HiddenFields } from './ui.tsx'

type Deletion<Params, Row> = {
  /** Path of the route. */
  path: string
  config: { permission: Access; tags?: { param: 'tag' } }
  params: TSchema
  read: (params: Params, request: FastifyRequest) => Promise<Row>
  remove: (change: Change, params: Params, expected: Precondition, request: FastifyRequest) => Promise<void>
  describe: (row: Row) => Confirmation
  /** The page to open afterwards, with its notice. */
  nextPath: (params: Params) => string
}

type Confirmation = {
  section: NonNullable<Page['section']>
  /** Noun of what is deleted. */
  resource: string
  question: string
  trail: readonly (readonly [name: string, path: string])[]
  /** Name of the page in its breadcrumbs, unless it is Delete. */
  page?: string
  /** Path of the resource. */
  path: string
  version: string
  /** Says what is lost. */
  children: ComponentChildren
}

/** Registers the page that asks for confirmation of a deletion. It deletes only the version that it shows. */
export function registerDeletion<Params, Row>(
  app: FastifyInstance,
  { path, config, params, read, remove, describe, nextPath }: Deletion<Params, Row>,
): void {
  const schema = { params }

  app.get(path, { config, schema }, async function confirm(request, reply) {
    return sendConfirmation(request, reply, false)
  })

  app.post(
    path,
    { config: { ...config, recentLogIn: true }, schema },
    async function confirmed(request, reply) {
      const params = request.params as Params
      try {
        await change(request, (change) => remove(change, params, readPrecondition(request.body), request))
      } catch (error) {
        if (!isConflict(error)) throw error
        return sendConfirmation(request, reply.code(error.status), true)
      }
      return reply.redirect(nextPath(params), 303)
    },
  )

  async function sendConfirmation(request: FastifyRequest, reply: FastifyReply, isStale: boolean) {
    const confirmation = describe(await read(request.params as Params, request))
    const { section, resource, question, trail, page = 'Delete', version, children } = confirmation
    return sendPage(
      request,
      reply,
      { title: question, section },
      <ConfirmPage
        breadcrumbs={<Breadcrumbs trail={trail} current={page} />}
        question={question}
        action={`${confirmation.path}/delete`}
        fields={<HiddenFields fields={{ version }} />}
        button="Delete"
        isIrreversible
        cancel={[trail.at(-1)?.[1] ?? '/manage']}
      >
        {isStale && (
          <ConflictSummary resource={resource}>Read it again before you delete it.</ConflictSummary>
        )}
        {children}
      </ConfirmPage>,
    )
  }
}
