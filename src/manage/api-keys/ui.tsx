import type { ComponentChildren } from 'preact'
import type { ApiKey, Successor } from '../../keys/repository.ts'
import { ConfirmPage } from '../confirmation.tsx'
import { formatNumber } from '../format.ts'
import { TimeAgo, TimeAgoOrNever } from '../ui.tsx'

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

type ConfirmKeyPageProps = {
  verb: 'Rotate' | 'Revoke'
  apiKey: ApiKey
  consequence: ComponentChildren
  warning: string | false
  isIrreversible?: boolean
  /** Further form fields. */
  children?: ComponentChildren
}

/** Asks for confirmation, and shows the last use, because clients may depend on the key. */
export function ConfirmKeyPage({
  verb,
  apiKey: { id, name, last_used_at: lastUse },
  apiKey,
  consequence,
  warning,
  isIrreversible = false,
  children,
}: ConfirmKeyPageProps) {
  return (
    <ConfirmPage
      breadcrumbs={<Breadcrumbs current={verb} apiKey={apiKey} />}
      question={`${verb} ${name}?`}
      action={`${keyPath(id)}/${verb.toLowerCase()}`}
      fields={children}
      button={verb}
      isIrreversible={isIrreversible}
      cancel={[keyPath(id)]}
    >
      <p>{consequence}</p>
      <p>
        {lastUse ? (
          <>
            Last used: <LastUse apiKey={apiKey} />
          </>
        ) : (
          'This key has never been used.'
        )}
      </p>
      {warning !== false && <p class="warning">{warning}</p>}
    </ConfirmPage>
  )
}

/** Only an active key without a successor can be rotated. */
export function canRotate({ status, rotated_to }: Pick<ApiKey, 'status' | 'rotated_to'>): boolean {
  return status === 'active' && rotated_to === null
}

export function KeyLink({ id }: { id: string }) {
  return (
    <a href={keyPath(id)}>
      <code>{id}</code>
    </a>
  )
}

type SuccessorWarningProps = {
  successors: Successor[]
  /** Names the key, or the keys, that were rotated. */
  subject?: string
}

/** Names the keys that a revocation leaves active. */
export function SuccessorWarning({ successors, subject = 'This key was' }: SuccessorWarningProps) {
  const isOne = successors.length === 1
  return (
    <div class="warning">
      <p>
        <strong>
          {subject} rotated, and {isOne ? 'its successor is' : 'these successors are'} active.
        </strong>{' '}
        If the key has leaked, revoke {isOne ? 'the successor' : 'them'} too, because a key can rotate itself.
      </p>
      <ul>
        {successors.map(({ id, name, created_at }) => (
          <li key={id}>
            <a href={keyPath(id)}>{name}</a> <code>{id}</code> created <TimeAgo time={created_at} />
          </li>
        ))}
      </ul>
    </div>
  )
}

export function LastUse({ apiKey: { last_used_at, last_used_address } }: { apiKey: ApiKey }) {
  return (
    <>
      <TimeAgoOrNever time={last_used_at} />
      {last_used_address !== null && (
        <>
          {' '}
          from <code>{last_used_address}</code>
        </>
      )}
    </>
  )
}

/** @param any stands for no limit */
export function TagsOrAny({ items, any }: { items: string[] | null; any: string }) {
  if (items === null) return <span class="muted">{any}</span>
  return (
    <ul class="tags">
      {items.map((item) => (
        <li key={item} class="tag">
          {item}
        </li>
      ))}
    </ul>
  )
}

export function PermissionTags({ permissions }: Pick<ApiKey, 'permissions'>) {
  return (
    <ul class="tags">
      {permissions.map((permission) => (
        <li key={permission} class={tagClass(permission)}>
          {permission}
        </li>
      ))}
    </ul>
  )
}

export function tagClass(permission: string): string {
  return permission === 'admin' ? 'tag strong' : 'tag'
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
