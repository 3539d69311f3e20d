import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ComponentChildren } from 'preact'
import type { TSchema } from 'typebox'
import type { Change } from '../audit/transaction.ts'
import { change } from '../http/change-context.ts'
import type { Access } from '../permissions.ts'
import type { Precondition } from '../preconditions.ts'
import { isConflict, readPrecondition } from './form.ts'
import { type Page, sendPage } from './page.tsx'
import { Breadcrumbs, ConflictSummary, Form } from './ui.tsx'

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
    const { section, resource, question, trail, version, children } = confirmation
    const cancelPath = trail.at(-1)?.[1] ?? '/manage'
    return sendPage(
      request,
      reply,
      { title: question, section },
      <>
        <Breadcrumbs trail={trail} current="Delete" />
        <h1>{question}</h1>
        <section class="card form">
          {isStale && (
            <ConflictSummary resource={resource}>Read it again before you delete it.</ConflictSummary>
          )}
          {children}
          <Form action={`${confirmation.path}/delete`}>
            <input type="hidden" name="version" value={version} />
            <div class="buttons">
              <button class="primary danger">Delete</button>
              <a class="button" href={cancelPath}>
                Cancel
              </a>
            </div>
          </Form>
        </section>
      </>,
    )
  }
}
