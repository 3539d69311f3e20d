import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import responseBursts from '../src/http/response-bursts.ts'

/** Logs the order of handlers and of responses. `/invalid` cannot be sent. */
async function build(t: Test): Promise<{ app: FastifyInstance; log: string[] }> {
  const app = Fastify()
  const log: string[] = []
  app.register(responseBursts)
  app.addHook('onSend', ({ url }, _reply, _payload, next) => {
    log.push(`send ${url}`)
    next()
  })
  app.get('/:name', async (request, reply) => {
    log.push(`handle ${request.url}`)
    if (request.url === '/invalid') reply.header('x-invalid', '\n')
    return 'text'
  })
  t.teardown(() => app.close())
  return { app, log }
}

await t.test('responses of one turn are sent one after the other', async (t) => {
  const { app, log } = await build(t)
  await Promise.all(['/1', '/2', '/3'].map((url) => app.inject(url)))
  t.same(log, ['handle /1', 'handle /2', 'handle /3', 'send /1', 'send /2', 'send /3'])
})

await t.test('a response that cannot be sent is 500, and the others of its turn are sent', async (t) => {
  const { app } = await build(t)
  const responses = await Promise.all(['/invalid', '/valid'].map((url) => app.inject(url)))
  t.same(
    responses.map(({ statusCode }) => statusCode),
    [500, 200],
  )
})

await t.test('a response of a hook does not wait', async (t) => {
  const { app, log } = await build(t)
  app.addHook('onRequest', ({ url }, reply, next) => {
    if (url === '/rejected') reply.code(403).send('text')
    else next()
  })
  await Promise.all(['/rejected', '/1'].map((url) => app.inject(url)))
  t.same(log, ['send /rejected', 'handle /1', 'send /1'])
})
