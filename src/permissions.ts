/** The permissions of a key, with the descriptions that the panel and the API documentation show. */
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

/** Declared by a route in `config.permission`: a permission, `any-key` for every valid key, or `public` for no key. */
export type Access = Permission | 'any-key' | 'public'

/** True for paths whose routes must declare their access. */
export function isUnderApi(url: string): boolean {
  return /^\/api(\/|$)/.test(url)
}

/** Permissions are independent of one another; `admin` grants everything. */
export function allows(granted: readonly Permission[], access: Access): boolean {
  if (access === 'public' || access === 'any-key') return true
  return granted.includes(access) || granted.includes('admin')
}
