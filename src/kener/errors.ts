import { ApiError, invalidField, invalidRequest } from '../errors.ts'

/** Returns a catch handler that reports an error about the field `path` under Kener's name of the field. */
export const renameField = (path: string, kenerPath: string, message: string) => (error: unknown) => {
  const isAboutField = error instanceof ApiError && error.details?.[0]?.path === path
  throw isAboutField ? invalidField(kenerPath, message) : error
}

/** Rethrows a conflict as 400, because Kener does not use 409. */
export function rethrowConflictAsInvalid(error: unknown): never {
  throw error instanceof ApiError && error.status === 409 ? invalidRequest(error.message) : error
}
