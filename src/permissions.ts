/** What a key may be allowed to do, with the words shown to people. Source: the Authentication page. */
export const permissionDescriptions = {
  'read:monitors': 'View monitors and their status',
  'write:monitors': 'Create and update monitors',
  'delete:monitors': 'Delete monitors',
  'read:incidents': 'View incidents',
  'write:incidents': 'Create and update incidents',
  admin: 'Full access to all endpoints',
} as const

export type Permission = keyof typeof permissionDescriptions

export const permissions = Object.keys(permissionDescriptions) as Permission[]

/**
 * What a route declares in `config.permission`: the permission it needs, `any-key` for every valid key, or
 * `public` for no key at all.
 */
export type Access = Permission | 'any-key' | 'public'

/** Where every route declares its access. */
export function isUnderApi(url: string): boolean {
  return /^\/api(\/|$)/.test(url)
}

/** None implies another, but for admin, which implies them all. */
export function allows(granted: readonly Permission[], access: Access): boolean {
  if (access === 'public' || access === 'any-key') return true
  return granted.includes(access) || granted.includes('admin')
}
