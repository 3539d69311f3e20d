import { hash } from 'node:crypto'
import type { Precondition } from '../preconditions.ts'

/**
 * Returns the ETag of a record in a response. It is strong: it differs if the body does, which also depends on what
 * changes by itself, such as the status of a monitor. Its first part is the version of the record, which does not.
 */
export function formatEtag(version: string, body: string | Buffer): string {
  return `"${version}-${hash('sha256', body, 'base64url').slice(0, 22)}"`
}

/** True if the If-None-Match header contains the ETag, by weak comparison (RFC 9110, sections 8.8.3.2 and 13.1.2). */
export function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  return isAny(ifNoneMatch) || parseEtags(ifNoneMatch).some(({ tag }) => tag === etag)
}

/**
 * Reads the conditions of a change. Compares only versions, so that a change is not rejected because of a report that
 * arrived meanwhile. Weak tags never match If-Match (RFC 9110, section 13.1.1).
 */
export function parsePrecondition(
  ifMatch: string | undefined,
  ifNoneMatch: string | undefined,
): Precondition {
  return {
    match: ifMatch === undefined ? undefined : parseVersions(ifMatch, false),
    noneMatch: ifNoneMatch === undefined ? undefined : parseVersions(ifNoneMatch, true),
  }
}

function parseVersions(header: string, allowsWeak: boolean): 'any' | string[] {
  if (isAny(header)) return 'any'
  return parseEtags(header)
    .filter(({ isWeak }) => allowsWeak || !isWeak)
    .flatMap(({ tag }) => /^"(\d+)-[\w-]{22}"$/.exec(tag)?.[1] ?? [])
}

function isAny(header: string): boolean {
  return header.trim() === '*'
}

/** Returns the entity tags in a header (RFC 9110, section 8.8.3), with their quotes, which may contain commas. */
function parseEtags(header: string): { tag: string; isWeak: boolean }[] {
  const tags = header.matchAll(/(W\/)?("[\x21\x23-\x7e\x80-\xff]*")/g)
  return Array.from(tags, ([, weak, tag = '']) => ({ tag, isWeak: weak !== undefined }))
}
