import { changedSinceRead, existsAlready } from './errors.ts'

/** Versions of a record, or 'any' if it only has to exist. */
type Versions = 'any' | readonly string[]

/** Conditions of a change on the record that it changes: RFC 9110, section 13.1. */
export type Precondition = {
  /** The record must exist with one of these versions. */
  match?: Versions | undefined
  /** The record must not exist with one of these versions. */
  noneMatch?: Versions | undefined
}

/**
 * Call it with the locked record, so that the condition still holds when the transaction commits.
 * @param current undefined: there is no such record, or the caller must not know that there is one
 * @throws ApiError 412
 */
export function assertPrecondition(
  { match, noneMatch }: Precondition,
  current: { version: string } | undefined,
): void {
  if (match !== undefined && !includes(match, current)) throw changedSinceRead()
  if (noneMatch !== undefined && includes(noneMatch, current)) throw existsAlready()
}

function includes(versions: Versions, record: { version: string } | undefined): boolean {
  return record !== undefined && (versions === 'any' || versions.includes(record.version))
}
