import { execFile, spawnSync } from 'node:child_process'
import { randomInt, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Kysely, sql } from 'kysely'
import t, { type Test } from 'tap'
import type { Tables } from '../../src/database/schema.ts'
import { newKey, times } from '../helper.ts'
import { recordKeys } from '../sweep.ts'
import { type Answer, ask } from './client.ts'
import { startProxy } from './cutting-proxy.ts'
import { wide } from './load.ts'
import { startReplicas, startServer } from './replicas.ts'
import { scaled } from './scale.ts'

/** A request that must be handled once, whatever happens to its responses. */
type Operation = {
  path: string
  body: object
  idempotencyKey: string
  /** Returns the ids of what was written. */
  written: () => Promise<string[]>
}

const environment = { ...wide, DATABASE_POOL_MAX: '6' }

async function prepare(db: Kysely<Tables>) {
  const { token: key } = await newKey({ db })
  await sql`insert into incidents (title, state, started_at) values ('Commented', 'MONITORING', now())`.execute(
    db,
  )
  // A second write of a report would be the same row, so that writes are counted.
  await sql`create table report_writes (monitor_id integer not null)`.execute(db)
  await sql`
    create function count_report() returns trigger language plpgsql as
      'begin insert into report_writes values (new.monitor_id); return null; end'`.execute(db)
  await sql`
    create trigger count_report after insert or update of minute on last_reports
    for each row execute function count_report()`.execute(db)
  return key
}

/** Creates one operation of each kind. */
async function createOperations(db: Kysely<Tables>): Promise<Operation[]> {
  const name = `n${randomUUID()}`
  const ids = (from: string, condition: ReturnType<typeof sql>) => async () => {
    const { rows } = await sql<{ id: string }>`
      select id::text as id from ${sql.table(from)} where ${condition}`.execute(db)
    return rows.map(({ id }) => id)
  }
  const byTitle = sql`title = ${name}`
  const { id: rotated } = await newKey({ db }, { permissions: ['read:monitors'] })
  const { rows } = await sql<{ id: number }>`
    insert into monitors (tag, name, enabled, hidden, default_status, degraded_counts_as_down)
    values (${`${name}-reported`}, 'M', true, false, 'NO_DATA', false) returning id`.execute(db)
  const reported = rows[0]?.id ?? 0
  const kinds: [path: string, body: object, written: Operation['written']][] = [
    ['/api/incidents', { title: name, comment: 'C' }, ids('incidents', byTitle)],
    ['/api/incidents/1/comments', { comment: name }, ids('incident_comments', sql`comment = ${name}`)],
    ['/api/monitors', { tag: name, name }, ids('monitors', sql`tag = ${name}`)],
    [
      '/api/maintenances',
      {
        title: `${name}-m`,
        starts_at: '2999-01-01T00:00:00Z',
        duration_seconds: 60,
        rrule: 'FREQ=DAILY;COUNT=2',
      },
      ids('maintenances', sql`title = ${`${name}-m`}`),
    ],
    [
      `/api/monitors/${name}-reported/data`,
      { status: 'UP' },
      async () => {
        const writes = await sql`select from report_writes where monitor_id = ${reported}`.execute(db)
        return writes.rows.map(() => 'report')
      },
    ],
    ['/api/keys', { name, permissions: ['read:monitors'] }, ids('api_keys', sql`name = ${name}`)],
    [`/api/keys/${rotated}/rotate`, { overlap_seconds: 60 }, ids('api_keys', sql`rotated_from = ${rotated}`)],
    [
      '/api/v4/incidents',
      { title: `${name}-v4`, start_date_time: 1_700_000_000 },
      ids('incidents', sql`title = ${`${name}-v4`}`),
    ],
    [
      '/api/v4/incidents/1/comments',
      { comment: `${name}-v4`, state: 'MONITORING' },
      ids('incident_comments', sql`comment = ${`${name}-v4`}`),
    ],
  ]
  return kinds.map(([path, body, written]) => ({ path, body, written, idempotencyKey: randomUUID() }))
}

async function send(origin: string, key: string, { path, body, idempotencyKey }: Operation): Promise<Answer> {
  const headers = { 'idempotency-key': idempotencyKey }
  const answer = await ask(`${origin}${path}`, { key, method: 'POST', body, headers })
  recordKeys(answer.body)
  return answer
}

/** Repeats a request as a client does, to any of the servers, until there is a response that says not to. */
async function sendUntilAnswered(
  origins: () => string[],
  key: string,
  operation: Operation,
): Promise<Answer> {
  for (;;) {
    const all = origins()
    const origin = all[randomInt(all.length)] ?? ''
    const answer = await send(origin, key, operation).catch(() => undefined)
    if (answer && answer.headers['retry-after'] === undefined) return answer
    await delay(randomInt(50))
  }
}

/**
 * Checks that the operation was written once, and that its final response is that of this write.
 * @param answers responses to the same request
 */
async function check(t: Test, { path, written }: Operation, answers: Answer[]): Promise<void> {
  const ids = await written()
  t.equal(ids.length, 1, `${path}: written once`)
  for (const { status, body } of answers) {
    const isWithheld = status === 409 && body.includes(`already handled: it created the key ${ids[0] ?? ''}`)
    t.ok(status === 200 || status === 201 || isWithheld, `${path}: ${status} ${body}`)
  }
  const bodies = new Set(answers.filter(({ status }) => status < 300).map(({ body }) => body))
  t.ok(bodies.size <= 1, `${path}: one response, not ${[...bodies].join(' and ')}`)
}

await t.test(
  'a response that is lost after the commit is repeated, also by the next process, and nothing is written twice',
  async (t) => {
    const { url, db, processes, origins } = await startReplicas(t, [environment])
    const key = await prepare(db)
    const proxy = await startProxy(t, origins[0] ?? '')
    // Closes each connection when the response arrives.
    proxy.cutAfter(() => 0)
    const cut = new URL(proxy.url).origin
    for (const isKilled of [false, true]) {
      const operations = (await times(scaled(10), () => createOperations(db))).flat()
      for (const operation of operations) await t.rejects(send(cut, key, operation), 'the response is lost')
      let [origin = ''] = origins
      if (isKilled) {
        processes[0]?.child.kill('SIGKILL')
        await processes[0]?.ended
        origin = (await startServer(t, url, environment)).origin
      }
      for (const operation of operations) {
        const answer = await send(origin, key, operation)
        if (answer.status < 300) t.equal(answer.headers['idempotency-replayed'], 'true', operation.path)
        await check(t, operation, [answer])
      }
    }
  },
)

await t.test('of requests that arrive at two replicas at the same time, one is handled', async (t) => {
  const { db, origins } = await startReplicas(t, [environment, environment])
  const key = await prepare(db)
  const statuses = new Map<string, number>()
  for (let round = 0; round < scaled(50); round++) {
    const operations = await createOperations(db)
    await Promise.all(
      operations.map(async (operation) => {
        const answers = await times(4, (index) => send(origins[index % 2] ?? '', key, operation))
        const last = await sendUntilAnswered(() => origins, key, operation)
        const isInFlight = ({ headers }: Answer) => headers['retry-after'] === '1'
        await check(t, operation, [...answers.filter((answer) => !isInFlight(answer)), last])
        for (const answer of answers) {
          const name = `${answer.status}${isInFlight(answer) ? ' in flight' : ''}${answer.headers['idempotency-replayed'] ? ' replayed' : ''}`
          statuses.set(name, (statuses.get(name) ?? 0) + 1)
        }
      }),
    )
  }
  t.comment(`responses: ${JSON.stringify(Object.fromEntries(statuses))}`)
})

await t.test(
  'replicas are killed and connections to the database are cut at any moment: each request is handled once',
  async (t) => {
    const { url, db, processes } = await startReplicas(t, [])
    t.equal(processes.length, 0)
    const key = await prepare(db)
    const proxy = await startProxy(t, url)
    const servers = await times(2, () => startServer(t, proxy.url, environment))
    const cut = () => {
      proxy.cutAfter(() => Math.floor(10 ** (2 + Math.random() * 4)))
    }
    cut()
    let isOver = false
    t.teardown(() => {
      isOver = true
    })
    const clients = times(8, async () => {
      let count = 0
      while (!isOver) {
        for (const operation of await createOperations(db)) {
          const answer = await sendUntilAnswered(() => servers.map(({ origin }) => origin), key, operation)
          await check(t, operation, [answer])
          count++
        }
      }
      return count
    })
    for (let kill = 0; kill < scaled(10); kill++) {
      await delay(randomInt(1_000))
      const index = kill % servers.length
      const killed = servers[index]
      killed?.child.kill('SIGKILL')
      await killed?.ended
      // A process does not start if its first connection is cut.
      proxy.cutAfter(() => Infinity)
      servers[index] = await startServer(t, proxy.url, environment)
      cut()
    }
    proxy.cutAfter(() => Infinity)
    isOver = true
    const handled = (await clients).reduce((sum, count) => sum + count, 0)
    t.comment(`${handled} requests, ${scaled(10)} kills, ${proxy.cuts()} cut connections`)
  },
)

await t.test('the examples of docs/api.md repeat a request whose responses are lost', async (t) => {
  const { db, origins } = await startReplicas(t, [environment])
  const key = await prepare(db)
  const proxy = await startProxy(t, origins[0] ?? '')
  const docs = readFileSync(join(import.meta.dirname, '../../../docs/api.md'), 'utf8')
  const section = /\n## Retry safely\n([^]*?)\n## /.exec(docs)?.[1] ?? ''
  for (const [language, name, command] of [
    ['bash', 'retry.sh', ['sh', 'retry.sh']],
    ['python', 'retry.py', ['python3', 'retry.py']],
    ['go', 'retry.go', ['go', 'run', 'retry.go']],
  ] as const) {
    const example = new RegExp(`\n\`\`\`${language}\n([^]*?)\`\`\``).exec(section)?.[1] ?? ''
    t.ok(example.includes('http://127.0.0.1:3000'), language)
    const [program] = command
    if (spawnSync(program, [program === 'go' ? 'version' : '--version']).error) {
      t.comment(`${program} is not installed`)
      continue
    }
    const directory = t.testdir({
      [name]: example.replace('http://127.0.0.1:3000', new URL(proxy.url).origin),
    })
    const before = proxy.cuts()
    proxy.cutAfter(() => (proxy.cuts() < before + 2 ? 0 : Infinity))
    const [file, ...args] = command
    const env = { ...process.env, KENER_API_KEY: key }
    const { stdout } = await promisify(execFile)(file, args, { cwd: directory, env })
    t.match(stdout, /201[^]*"title": ?"Checkout is slow"|201[^]*'title': 'Checkout is slow'/, language)
    t.equal(proxy.cuts(), before + 2, `${language}: two responses are lost`)
    const { rows } = await sql`delete from incidents where title = 'Checkout is slow' returning id`.execute(
      db,
    )
    t.equal(rows.length, 1, `${language}: one incident`)
  }
})
