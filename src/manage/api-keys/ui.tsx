import type { ComponentChildren } from 'preact'
import type { ApiKey } from '../../keys/repository.ts'
import { formatNumber } from '../format.ts'
import { Form, TimeAgo } from '../ui.tsx'

export const keysPath = '/manage/settings/api-keys'

export function keyPath(id: string): string {
  return `${keysPath}/${id}`
}

export function Breadcrumbs({ current, apiKey }: { current?: string; apiKey?: ApiKey }) {
  return (
    <nav class="breadcrumbs" aria-label="Settings">
      <span>Settings</span>
      <a href={keysPath} aria-current={current === undefined ? 'page' : undefined}>
        API Keys
      </a>
      {apiKey && <a href={keyPath(apiKey.id)}>{apiKey.name}</a>}
      {current !== undefined && <span aria-current="page">{current}</span>}
    </nav>
  )
}

type ConfirmPageProps = {
  verb: 'Rotate' | 'Revoke'
  apiKey: ApiKey
  consequence: ComponentChildren
  warning: string | false
  isIrreversible?: boolean
  /** Further form fields. */
  children?: ComponentChildren
}

/** Asks for confirmation, and shows the last use, because clients may depend on the key. */
export function ConfirmPage({
  verb,
  apiKey: { id, name, last_used_at: lastUse },
  apiKey,
  consequence,
  warning,
  isIrreversible = false,
  children,
}: ConfirmPageProps) {
  return (
    <>
      <Breadcrumbs current={verb} apiKey={apiKey} />
      <h1>
        {verb} {name}?
      </h1>
      <section class="card form">
        <p>{consequence}</p>
        <p>
          {lastUse ? (
            <>
              Last used: <TimeAgo time={lastUse} />
            </>
          ) : (
            'This key has never been used.'
          )}
        </p>
        {warning !== false && <p class="warning">{warning}</p>}
        <Form action={`${keyPath(id)}/${verb.toLowerCase()}`}>
          {children}
          <div class="buttons">
            <button class={isIrreversible ? 'primary danger' : 'primary'}>{verb}</button>
            <a class="button" href={keyPath(id)}>
              Cancel
            </a>
          </div>
        </Form>
      </section>
    </>
  )
}

export function PermissionTags({ permissions }: Pick<ApiKey, 'permissions'>) {
  return (
    <ul class="tags">
      {permissions.map((permission) => (
        <li key={permission} class={permission === 'admin' ? 'tag strong' : 'tag'}>
          {permission}
        </li>
      ))}
    </ul>
  )
}

export function Status({ status }: Pick<ApiKey, 'status'>) {
  return <span class={`status ${status}`}>{status.charAt(0).toUpperCase() + status.slice(1)}</span>
}

type RateLimitProps = { limit: number | null; rateLimitMax: number }

export function RateLimit({ limit, rateLimitMax }: RateLimitProps) {
  return (
    <span class="nowrap">
      {formatNumber(limit ?? rateLimitMax)}{' '}
      <span class="muted">per minute{limit === null && ' (default)'}</span>
    </span>
  )
}
