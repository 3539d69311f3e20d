import t from 'tap'
import { check } from './ha/checker.ts'
import type { Final, History, KeyChange, KeyUse, Operation, Write } from './ha/history.ts'

/** The checker of `npm run test:ha` must reject each of these histories. */

type Times = { startedAt: number; endedAt?: number; replica?: number; status?: number | null }

function respond({ startedAt, endedAt = startedAt + 10, replica = 0, status = 200 }: Times) {
  return { startedAt, endedAt, replica, status, irregularity: null }
}

function write(kind: Write['kind'], name: string, times: Times): Operation {
  return { kind, name, ...respond(times) }
}

function change(key: string, transition: KeyChange['transition'], times: Times): Operation {
  return { kind: 'change', key, transition, ...respond(times) }
}

function use(key: string, times: Times, seen: Partial<KeyUse> = {}): Operation {
  return { kind: 'use', key, limit: 2, seenLimit: 2, window: 60, ...seen, ...respond(times) }
}

/** The fault at 100 fails the cluster over, which accepts writes again at 210. */
const regular: History = {
  operations: [
    write('report', '5 70', { startedAt: 10 }),
    write('incident', 'i1', { startedAt: 10, status: 201 }),
    write('key', 'k1', { startedAt: 10, status: 201 }),
    write('key', 'k2', { startedAt: 150, status: 503 }),
    change('r', 'revoked', { startedAt: 30 }),
    change('l', 'limited', { startedAt: 30 }),
    change('n', 'narrowed', { startedAt: 30 }),
    change('e', 'expired', { startedAt: 30 }),
    use('r', { startedAt: 20 }),
    use('r', { startedAt: 35, replica: 1 }),
    use('r', { startedAt: 41, status: 401 }),
    use('l', { startedAt: 41 }, { seenLimit: 1 }),
    use('n', { startedAt: 41, status: 403 }),
    use('e', { startedAt: 41, status: 401 }),
    use('q', { startedAt: 41 }),
    use('q', { startedAt: 42 }),
    use('q', { startedAt: 43, status: 429 }),
    use('q', { startedAt: 300 }),
    use('q', { startedAt: 310 }),
    use('s', { startedAt: 3_000 }),
    use('s', { startedAt: 3_000, replica: 1 }),
  ],
  samples: [
    { startedAt: 90, endedAt: 95, server: 'timeline 1' },
    { startedAt: 110, endedAt: 190, server: null },
    { startedAt: 200, endedAt: 210, server: 'timeline 2' },
  ],
  fault: { injectedAt: 100 },
  final: {
    names: { report: ['5 70'], incident: ['i1'], key: ['k1', 'k2'] },
    changed: [
      { key: 'r', transitions: ['revoked'] },
      { key: 'l', transitions: ['limited'] },
      { key: 'n', transitions: ['narrowed'] },
      { key: 'e', transitions: ['expired'] },
    ],
    unmatched: [],
    changeEvents: [
      { key: 'r', transition: 'revoked', count: 1 },
      { key: 'r', transition: 'limited', count: 0 },
      { key: 'l', transition: 'limited', count: 1 },
    ],
  },
}

function withOperations(...more: Operation[]): History {
  return { ...regular, operations: [...regular.operations, ...more] }
}

function without(isLeftOut: (operation: Operation) => boolean): History {
  return { ...regular, operations: regular.operations.filter((operation) => !isLeftOut(operation)) }
}

function withFinal(final: Partial<Final>): History {
  return { ...regular, final: { ...regular.final, ...final } }
}

const { names } = regular.final
const switched = { samples: [{ startedAt: 90, endedAt: 95, server: 'timeline 1' }] }

const irregular: Record<string, [History, expected: RegExp]> = {
  'an acknowledged incident is missing': [
    withFinal({ names: { ...names, incident: [] } }),
    /^lost: the acknowledged incident i1$/,
  ],
  'an acknowledged report has another latency': [
    withFinal({ names: { ...names, report: ['5 71'] } }),
    /^lost: the acknowledged report 5 70$/,
  ],
  'an acknowledged key is missing': [
    withFinal({ names: { ...names, key: ['k2'] } }),
    /^lost: the acknowledged key k1$/,
  ],
  'an Idempotency-Key was executed twice': [
    withFinal({ names: { ...names, key: ['k1', 'k1'] } }),
    /^executed 2 times: the key k1$/,
  ],
  'a resource has no audit event': [
    withFinal({ unmatched: ['incident i1: 0 events'] }),
    /^without its counterpart: incident i1/,
  ],
  'a revocation has no audit event': [
    withFinal({ changeEvents: [{ key: 'r', transition: 'revoked', count: 0 }] }),
    /^the key r is revoked, and has 0 audit events of that$/,
  ],
  'an audit event has no revocation': [
    withFinal({ changeEvents: [{ key: 'l', transition: 'revoked', count: 1 }] }),
    /^the key l is not revoked, and has 1 audit events of that$/,
  ],
  'an acknowledged revocation is lost': [
    withFinal({
      changed: regular.final.changed.filter(({ key }) => key !== 'r'),
      changeEvents: [],
    }),
    /^lost: the key r was acknowledged as revoked$/,
  ],
  'no incident was acknowledged': [
    without(({ kind }) => kind === 'incident'),
    /^not covered: no incident was acknowledged$/,
  ],
  'a narrowed key was not used afterwards': [
    without((operation) => operation.kind === 'use' && operation.key === 'n'),
    /^not covered: no key was used after it was narrowed$/,
  ],
  'a revoked key is accepted': [
    withOperations(use('r', { startedAt: 41, replica: 1 })),
    /^old state: 1 ms after the key r was revoked, replica 1 answered 200$/,
  ],
  'a revoked key is counted': [
    withOperations(use('r', { startedAt: 41, status: 429 })),
    /^old state: .* answered 429$/,
  ],
  'a key has its old limit': [withOperations(use('l', { startedAt: 41 })), /^old state: .* was limited/],
  'a key exceeds its limit and the allowance of a failover': [
    withOperations(use('q', { startedAt: 320 })),
    /^over the limit: 5 of 2 were accepted in the window of q until 60$/,
  ],
  'a key exceeds its limit without a failover': [
    { ...regular, ...switched },
    /^over the limit: 4 of 2 were accepted/,
  ],
  'a response is irregular': [
    withOperations({ ...use('s', { startedAt: 150, status: 500 }), irregularity: '500' }),
    /^irregular: use on replica 0: 500$/,
  ],
  'a response is lost': [
    withOperations(use('s', { startedAt: 150, status: null })),
    /^no response: use on replica 0$/,
  ],
  'another replica than the stopped one loses a response': [
    {
      ...withOperations(use('s', { startedAt: 150, status: null })),
      fault: { injectedAt: 100, replica: { index: 1, until: 200, isStopped: true } },
    },
    /^no response: use on replica 0$/,
  ],
  'a request takes over 5 s': [
    withOperations(use('s', { startedAt: 150, endedAt: 5_151, status: 503 })),
    /^slow: use on replica 0 took 5001 ms$/,
  ],
  'a replica fails 2 s after the cluster has recovered': [
    withOperations(use('s', { startedAt: 2_211, status: 503 })),
    /^late recovery: use on replica 0 was 503 2001 ms after the cluster$/,
  ],
  'a replica does not recover': [
    without(({ startedAt, replica }) => startedAt === 3_000 && replica === 1),
    /^no recovery: replica 1 accepted nothing afterwards$/,
  ],
  'the cluster does not recover': [
    { ...regular, samples: regular.samples.slice(0, 2) },
    /^no recovery: replica 0/,
  ],
}

t.same(check(regular), [], 'a history that keeps all guarantees')

const timed = ['a request takes over 5 s', 'a replica fails 2 s after the cluster has recovered']
for (const [name, [history, expected]] of Object.entries(irregular)) {
  const violations = check(history)
  const isExpected = (violation: string) => expected.test(violation)
  t.ok(violations.some(isExpected), `${name}: ${JSON.stringify(violations)}`)
  t.equal(check(history, 2).some(isExpected), !timed.includes(name), `${name}, with twice the time`)
}

t.same(
  check({
    ...withOperations(use('s', { startedAt: 150, endedAt: 6_150, status: null })),
    fault: { injectedAt: 100, replica: { index: 0, until: 200, isStopped: true } },
  }),
  [],
  'a stopped replica may lose responses',
)
t.equal(
  check(withOperations(...Array.from({ length: 9 }, () => use('r', { startedAt: 41 })))).filter((text) =>
    text.startsWith('old state'),
  ).length,
  5,
  'violations of one kind are shortened',
)
