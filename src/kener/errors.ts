import { ApiError, invalidField, invalidRequest } from '../errors.ts'

/** Returns a catch handler that reports an error about a field under Kener's name of the field, with its message. */
export const renameFields =
  (fields: Record<string, readonly [kenerPath: string, message: string]>) =>
  (error: unknown): never => {
    const field = error instanceof ApiError ? fields[error.details?.[0]?.path ?? ''] : undefined
    throw field ? invalidField(...field) : error
  }

/** Rethrows a conflict as 400, because Kener does not use 409. */
export function rethrowConflictAsInvalid(error: unknown): never {
  throw error instanceof ApiError && error.status === 409 ? invalidRequest(error.message) : error
}
