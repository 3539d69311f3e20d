import { once as onceEvent } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import pLimit from 'p-limit'
import { type ErrorDetail, evaluationQueueFull, invalidField } from '../errors.ts'
import type { Plan } from './recurrence.ts'
import { once, reject, type Schedule } from './schedule.ts'

export type Evaluation = {
  schedule: Schedule
  /** The time of the database's clock. */
  now: Date
  /** True for a schedule that is not stored yet: it must occur at least once. */
  isNew: boolean
  /** Plans so many occurrences from now on, without limit of time, instead of the due events. */
  previewed?: number
}

export type EvaluationResult = { plan: Plan } | { invalid: ErrorDetail }

/** Longest evaluation. Rules that are in use take up to 30 ms, and the most expensive that was found without intent 0.4 s. */
const defaultBudgetMs = 1_000

const maxEvaluations = 100

/** Evaluations that wait or run. */
let evaluations = 0

/** One at a time. The others wait. */
const limit = pLimit(1)

/** The latest evaluation of each caller that waits or runs. */
const latest = new Map<string, Promise<unknown>>()

let worker: Worker | undefined

/**
 * Plans the events of a schedule in a worker thread, because some rules take seconds, and no bound on their parts or on
 * the library's iterations excludes all of them. The thread is started on first use, and again after an evaluation that
 * exceeded its budget. Call it outside of transactions.
 * @param callerId a caller waits for at most one evaluation of each other caller
 * @throws ApiError 400 if the rule is invalid or exceeds the budget, 503 if too many evaluations wait
 */
export async function evaluate(
  evaluation: Evaluation,
  callerId: string,
  budgetMs = defaultBudgetMs,
): Promise<Plan> {
  const { schedule } = evaluation
  if (schedule.rrule === once) return { occurrences: [schedule.starts_at], until: null }
  if (evaluations >= maxEvaluations) throw evaluationQueueFull()
  evaluations++
  const result = await inTurn(callerId, () => evaluateInWorker(evaluation, budgetMs)).finally(
    () => evaluations--,
  )
  if ('invalid' in result) throw invalidField(result.invalid.path, result.invalid.message)
  return result.plan
}

/** Adds an evaluation to the queue when the previous one of its caller has ended. */
async function inTurn<Result>(callerId: string, work: () => Promise<Result>): Promise<Result> {
  const previous = latest.get(callerId) ?? Promise.resolve()
  const turn = previous.catch(() => undefined).then(() => limit(work))
  latest.set(callerId, turn)
  try {
    return await turn
  } finally {
    if (latest.get(callerId) === turn) latest.delete(callerId)
  }
}

async function evaluateInWorker(evaluation: Evaluation, budgetMs: number): Promise<EvaluationResult> {
  const current = (worker ??= await startWorker())
  current.ref()
  try {
    current.postMessage(evaluation)
    const signal = AbortSignal.timeout(budgetMs)
    const [result] = (await onceEvent(current, 'message', { signal })) as [EvaluationResult]
    return result
  } catch (error) {
    forget(current)
    void current.terminate()
    if (error instanceof Error && ['AbortError', 'ERR_WORKER_OUT_OF_MEMORY'].includes(nameOf(error))) {
      reject('takes too long to evaluate: use a simpler rule')
    }
    throw error
  } finally {
    // An idle thread does not keep the process alive.
    current.unref()
  }
}

async function startWorker(): Promise<Worker> {
  const started = new Worker(join(import.meta.dirname, '../bundle/recurrence-worker.js'), {
    resourceLimits: { maxOldGenerationSizeMb: 64 },
  })
  // A thread may fail while no evaluation listens, for example while it is terminated. Without a listener the error would
  // end the process. The next evaluation starts another thread.
  started.on('error', () => {
    forget(started)
  })
  started.once('exit', () => {
    forget(started)
  })
  await onceEvent(started, 'message')
  return started
}

function forget(ended: Worker): void {
  if (worker === ended) worker = undefined
}

function nameOf(error: Error & { code?: unknown }): string {
  return typeof error.code === 'string' && error.code !== 'ABORT_ERR' ? error.code : error.name
}
