import { setTimeout as delay } from 'node:timers/promises'
import { type Cluster, type Node, query, role, until } from './cluster.ts'
import type { Fault } from './history.ts'
import { pace } from './pace.ts'
import { isReady } from '../slow/replicas.ts'
import type { Replica } from './service.ts'

export type System = {
  cluster: Cluster
  replicas: [Replica, Replica, Replica]
}

export type FaultKind = {
  description: string
  /** Runs before the workload starts. */
  prepare?: (system: System) => Promise<void>
  /** Causes the fault. What it has stopped is restored afterwards, unless it ends by itself. */
  inject: (system: System) => Promise<Pick<Fault, 'replica'>>
  /** Runs after the workload has ended. */
  cleanUp?: (system: System) => Promise<void>
}

export const faults: Record<string, FaultKind> = {
  'leader-killed': {
    description: 'the primary killed together with its Patroni',
    inject: onPrimary(async (primary, { cluster }) => {
      await primary.patroni.kill()
      primary.killPostgres()
      await untilReplaced(primary, cluster)
    }),
  },
  'patroni-killed': {
    description: 'Patroni of the primary killed; its PostgreSQL runs on',
    inject: onPrimary(async (primary, { cluster }) => {
      await primary.patroni.kill()
      await untilReplaced(primary, cluster)
    }),
  },
  'postgres-killed': {
    description: 'PostgreSQL of the primary killed; its Patroni runs on',
    inject: onPrimary(async (primary) => {
      primary.killPostgres()
      await until(
        'the loss of the primary is noticed',
        async () => (await primary.status())?.state !== 'running',
      )
    }),
  },
  'patroni-frozen': {
    description: 'Patroni of the primary frozen (SIGSTOP)',
    inject: onPrimary(async (primary) => {
      primary.patroni.signal('SIGSTOP')
      await delay(pace.outageMs)
      primary.patroni.signal('SIGCONT')
    }),
  },
  'postgres-frozen': {
    description: 'PostgreSQL of the primary frozen (SIGSTOP)',
    inject: onPrimary(async (primary) => {
      primary.signalPostgres('SIGSTOP')
      await delay(pace.outageMs)
      primary.signalPostgres('SIGCONT')
    }),
  },
  'leader-frozen': {
    description: 'the primary frozen together with its Patroni (SIGSTOP)',
    inject: onPrimary(async (primary) => {
      primary.patroni.signal('SIGSTOP')
      primary.signalPostgres('SIGSTOP')
      await delay(pace.outageMs)
      // First the server, which still considers itself the primary.
      primary.signalPostgres('SIGCONT')
      await delay(1_000)
      primary.patroni.signal('SIGCONT')
    }),
  },
  switchover: {
    description: 'a switchover to the synchronous standby',
    inject: onPrimary(async (primary, { cluster }) => {
      await cluster.switchover(primary, await cluster.synchronousStandby())
    }),
  },
  'standby-lost': {
    description: 'the synchronous standby killed together with its Patroni',
    inject: async ({ cluster }) => {
      const standby = await cluster.synchronousStandby()
      await standby.patroni.kill()
      standby.killPostgres()
      await until(
        'another standby is synchronous',
        async () => (await cluster.synchronousStandby()) !== standby,
      )
      return {}
    },
  },
  'etcd-lost': {
    description: 'etcd killed, and started again',
    inject: async ({ cluster }) => {
      await cluster.etcd.kill()
      await delay(pace.etcdOutageMs)
      cluster.etcd.start()
      return {}
    },
  },
  'etcd-gone': {
    description: 'etcd killed, until an operator starts it much later',
    inject: async ({ cluster }) => {
      await cluster.etcd.kill()
      await delay(1.5 * pace.etcdOutageMs)
      return {}
    },
  },
  'cut-leader-etcd': {
    description: 'the network cut between the primary and etcd',
    inject: onPrimary(async (primary, { cluster }) => {
      primary.etcdLink.cut()
      await untilReplaced(primary, cluster)
      primary.etcdLink.heal()
    }),
  },
  'cut-leader-standby': {
    description: 'the network cut between the primary and the synchronous standby',
    inject: onPrimary(async (primary, { cluster }) => {
      const standby = await cluster.synchronousStandby()
      primary.replicationLink.cut(standby.name)
      await until(
        'another standby is synchronous',
        async () => (await cluster.synchronousStandby()) !== standby,
      )
      primary.replicationLink.heal()
    }),
  },
  'cut-replica': {
    description: 'the network cut between one replica of the service and the database, for 8 s',
    inject: async ({ replicas: [{ link }] }) => {
      link.cut()
      await delay(8_000)
      link.heal()
      return { replica: { index: 0, until: performance.now(), isStopped: false } }
    },
  },
  'haproxy-restarted': {
    description: 'HAProxy killed, and started again',
    inject: async ({ cluster }) => {
      await cluster.balancer.kill()
      cluster.balancer.start()
      return {}
    },
  },
  'replica-killed': {
    description: 'one replica of the service killed, and started again',
    inject: async ({ replicas: [replica] }) => {
      await replica.kill()
      await replica.restart()
      return { replica: { index: 0, until: performance.now(), isStopped: true } }
    },
  },
  'replica-frozen': {
    description: 'one replica of the service frozen (SIGSTOP)',
    inject: async ({ replicas: [replica] }) => {
      replica.signal('SIGSTOP')
      await delay(pace.replicaFreezeMs)
      replica.signal('SIGCONT')
      await until('the replica is ready', () => isReady(replica.origin))
      return { replica: { index: 0, until: performance.now(), isStopped: true } }
    },
  },
  'deposed-primary': {
    description: 'Patroni of the primary killed, and one replica that reaches its PostgreSQL past HAProxy',
    prepare: async ({ cluster, replicas: [{ link }] }) => {
      link.redirect((await cluster.primary()).port)
    },
    inject: async ({ cluster, replicas: [{ link }] }) => {
      const primary = await cluster.primary()
      await primary.patroni.kill()
      await untilReplaced(primary, cluster)
      await delay(5_000)
      link.redirect(cluster.balancer.port)
      return { replica: { index: 0, until: performance.now(), isStopped: false } }
    },
  },
  'clock-ahead': {
    description: 'a switchover to a node whose clock is an hour ahead, without warning',
    prepare: async ({ cluster }) => {
      const primary = await cluster.primary()
      const [ahead, other] = cluster.nodes.filter((node) => node !== primary) as [Node, Node]
      await restartWithClock(ahead, cluster, 3_600)
      // So that the first one becomes synchronous, which a switchover requires.
      await restartWithClock(other, cluster, 0)
      await until('the node is synchronous', async () => (await cluster.synchronousStandby()) === ahead)
      await until('its clock is ahead', async () => (await clockOf(ahead)) > Date.now() + 3_000_000)
    },
    inject: onPrimary(async (primary, { cluster }) => {
      await cluster.switchover(primary, await cluster.synchronousStandby())
    }),
    cleanUp: async ({ cluster }) => {
      const primary = await cluster.primary()
      await cluster.switchover(primary, await cluster.synchronousStandby())
      await cluster.restore()
      await restartWithClock(primary, cluster, 0)
    },
  },
}

function onPrimary(inject: (primary: Node, system: System) => Promise<void>): FaultKind['inject'] {
  return async (system) => {
    await inject(await system.cluster.primary(), system)
    return {}
  }
}

async function untilReplaced(primary: Node, cluster: Cluster): Promise<void> {
  await until('another node is the primary', async () => (await cluster.primary()) !== primary)
}

async function restartWithClock(node: Node, cluster: Cluster, seconds: number): Promise<void> {
  node.shiftClock(seconds)
  await node.patroni.kill()
  node.killPostgres()
  await cluster.restore()
}

/** The clock of its PostgreSQL, in ms since 1970. */
async function clockOf({ port }: Pick<Node, 'port'>): Promise<number> {
  const [row] = await query(port, role, role, 'select extract(epoch from now())::float8 * 1000 as now')
  return Number(row?.now)
}
