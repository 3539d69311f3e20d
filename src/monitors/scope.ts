import { type RawBuilder, sql } from 'kysely'

/** The monitors that a key may use: tags, or starts of tags followed by `*`. Null: all monitors. */
export type Scope = readonly string[] | null

export function isInScope(scope: Scope, tag: string): boolean {
  if (scope === null) return true
  return scope.some((pattern) =>
    pattern.endsWith('*') ? tag.startsWith(pattern.slice(0, -1)) : tag === pattern,
  )
}

/** The same as a condition on the column `tag`. */
export function tagIsInScope(scope: readonly string[]): RawBuilder<boolean> {
  const tags = scope.filter((pattern) => !pattern.endsWith('*'))
  // _ matches any character in LIKE, and is allowed in a tag.
  const starts = scope
    .filter((pattern) => pattern.endsWith('*'))
    .map((pattern) => `${pattern.slice(0, -1).replaceAll('_', '\\_')}%`)
  return sql<boolean>`(tag = any(${tags}::text[]) or tag like any(${starts}::text[]))`
}
