export const isCi = process.env.CI === 'true'

type Pace = {
  /** Clusters that faults are caused in at the same time: most of the time, the tests wait for Patroni. */
  clusters: number
  /** Patroni replaces a primary that it has not heard of for this time, in seconds. Its documented minimum is 20. */
  ttl: number
  /** How long the primary is frozen: until it has been replaced. */
  outageMs: number
  /** How long etcd is lost: until Patroni has demoted the primary. */
  etcdOutageMs: number
  replicaFreezeMs: number
  /** Pause of a client between two requests, and between two samples of the cluster. */
  pauseMs: number
  /** The limits of time are multiplied by this number. They are promised for a machine that is not overloaded. */
  patience: number
}

/** CI runs on every change, with less time and perhaps on a busy machine. It verifies the same guarantees. */
export const pace: Pace = isCi
  ? {
      clusters: 2,
      ttl: 10,
      outageMs: 16_000,
      etcdOutageMs: 8_000,
      replicaFreezeMs: 8_000,
      pauseMs: 250,
      patience: 2,
    }
  : {
      clusters: 1,
      ttl: 20,
      outageMs: 30_000,
      etcdOutageMs: 30_000,
      replicaFreezeMs: 30_000,
      pauseMs: 100,
      patience: 1,
    }
