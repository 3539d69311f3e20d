import { parentPort } from 'node:worker_threads'
import { ApiError } from '../errors.ts'
import type { Evaluation, EvaluationResult } from './evaluation.ts'
import { assertOccurs, nextOccurrences, planEvents } from './recurrence.ts'

/** Entry of the worker thread that ./evaluation.ts starts. */

function evaluate({ schedule, now, isNew, previewed }: Evaluation): EvaluationResult {
  try {
    if (isNew) assertOccurs(schedule)
    if (previewed !== undefined)
      return { plan: { occurrences: nextOccurrences(schedule, now, previewed), until: null } }
    return { plan: planEvents(schedule, now) }
  } catch (error) {
    const [detail] = error instanceof ApiError ? (error.details ?? []) : []
    if (detail) return { invalid: detail }
    throw error
  }
}

parentPort?.on('message', (evaluation: Evaluation) => parentPort?.postMessage(evaluate(evaluation)))
// Reports that the library is loaded.
parentPort?.postMessage(null)
