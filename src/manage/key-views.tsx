import type { ComponentChildren } from 'preact'
import { useContext } from 'preact/hooks'
import type { ApiKey } from '../keys/repository.ts'
import { Field } from './form.tsx'
import { formatDateTime, formatNumber, formatRelative } from './format.ts'
import { KeyFields, type KeyForm } from './key-form.tsx'
import { Form, Now } from './page.tsx'

const keysPath = '/manage/settings/api-keys'

type KeyListProps = {
  keys: ApiKey[]
  status: string
  text: string
  isFirst: boolean
  next: string | null
  rateLimitMax: number
}

export function KeyList({ keys, status, text, isFirst, next, rateLimitMax }: KeyListProps) {
  const isFiltered = status !== '' || text !== ''
  return (
    <>
      <Breadcrumbs />
      <div class="heading">
        <h1>API Keys</h1>
        <a class="button primary" href={`${keysPath}/new`}>
          Generate New Key
        </a>
      </div>
      {/* What the page holds whole, the script filters while one types. */}
      <form
        class="filter"
        method="get"
        action={keysPath}
        role="search"
        data-filters={isFirst && next === null ? 'keys' : ''}
      >
        <label>
          <span>Name or id</span>
          <input type="search" name="q" value={text} maxLength={100} autocomplete="off" />
        </label>
        <label>
          <span>Status</span>
          <select name="status">
            {[
              ['', 'All'],
              ['active', 'Active'],
              ['expired', 'Expired'],
              ['revoked', 'Revoked'],
            ].map(([value, label]) => (
              <option key={value} value={value} selected={value === status}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <button>Filter</button>
        {isFiltered && <a href={keysPath}>Show all</a>}
      </form>
      {keys.length === 0 ? (
        <p class="empty card">No key is like that. Change the filter, or generate a new key.</p>
      ) : (
        <KeyTable keys={keys} rateLimitMax={rateLimitMax} />
      )}
      <p class="empty card" id="none-left" role="status" hidden />
      <Pages isFirst={isFirst} next={next} status={status} text={text} />
    </>
  )
}

// The roles say what the elements are where a narrow page lays them out as cards, and browsers forget it.
function KeyTable({ keys, rateLimitMax }: Pick<KeyListProps, 'keys' | 'rateLimitMax'>) {
  return (
    <table class="keys" id="keys" role="table" aria-label="API keys, the newest first">
      <thead role="rowgroup">
        <tr role="row">
          {['Name', 'Permissions', 'Status', 'Expiry', 'Last use', 'Limit', 'Actions'].map((name) => (
            <th key={name} scope="col" role="columnheader">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {keys.map((key) => (
          <tr
            key={key.id}
            role="row"
            data-name={key.name.toLowerCase()}
            data-id={key.id}
            data-status={key.status}
          >
            <th scope="row" role="rowheader">
              <a href={`${keysPath}/${key.id}`}>{key.name}</a>
              <code class="id">{key.id}</code>
            </th>
            <td role="cell" data-label="Permissions">
              <Tags names={key.permissions} />
            </td>
            <td role="cell" data-label="Status">
              <Status of={key} />
            </td>
            <td role="cell" data-label="Expiry">
              <Expiry of={key} />
            </td>
            <td role="cell" data-label="Last use">
              <TimeAgo time={key.last_used_at} otherwise="Never" />
            </td>
            <td role="cell" data-label="Limit">
              <Limit of={key} rateLimitMax={rateLimitMax} />
            </td>
            <td role="cell" class="actions">
              {key.status === 'active' && (
                <a href={`${keysPath}/${key.id}/rotate`} aria-label={`Rotate ${key.name}`}>
                  Rotate
                </a>
              )}
              {key.status !== 'revoked' && (
                <a class="danger" href={`${keysPath}/${key.id}/revoke`} aria-label={`Revoke ${key.name}`}>
                  Revoke
                </a>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function Pages({ isFirst, next, status, text }: Pick<KeyListProps, 'isFirst' | 'next' | 'status' | 'text'>) {
  if (isFirst && next === null) return null
  const link = (more: Record<string, string>) =>
    `${keysPath}?${new URLSearchParams({ status, q: text, ...more }).toString()}`
  return (
    <nav class="pages" aria-label="Pages">
      {!isFirst && <a href={link({})}>Newest keys</a>}
      {next !== null && <a href={link({ cursor: next })}>Older keys</a>}
    </nav>
  )
}

type NewKeyProps = { id: string; form: KeyForm; errors: Record<string, string>; rateLimitMax: number }

export function NewKey({ id, form, errors, rateLimitMax }: NewKeyProps) {
  return (
    <>
      <Breadcrumbs current="Generate New Key" />
      <h1>Generate New Key</h1>
      <Form action={`${keysPath}/new`} class="card form">
        <input type="hidden" name="id" value={id} />
        <ErrorSummary errors={errors} />
        <KeyFields form={form} errors={errors} rateLimitMax={rateLimitMax} />
        <div class="buttons">
          <button class="primary">Create</button>
          <a class="button" href={keysPath}>
            Cancel
          </a>
        </div>
      </Form>
    </>
  )
}

type IssuedKeyProps = { apiKey: ApiKey; token: string; origin: string; old?: ApiKey; isOwn?: boolean }

/** The one page that shows a key. */
export function IssuedKey({ apiKey, token, origin, old, isOwn = false }: IssuedKeyProps) {
  return (
    <>
      <Breadcrumbs current="New key" />
      <h1>Copy your new key</h1>
      <section class="card issued">
        <p class="warning">
          <strong>Copy it now: it won’t be shown again.</strong> The service keeps a hash of it, and nobody
          can read the key from that.
        </p>
        <Copyable id="new-key" label={`API key: ${apiKey.name}`} text={token} hasButton />
        <Copyable
          id="try-it"
          label="Try it in a terminal"
          text={`curl -X GET ${origin}/api/me -H "Authorization: Bearer ${token}"`}
        />
        <dl class="facts">
          <dt>Permissions</dt>
          <dd>
            <Tags names={apiKey.permissions} />
          </dd>
          <dt>Expiry</dt>
          <dd>
            <Expiry of={apiKey} />
          </dd>
          {old?.expires_at && (
            <>
              <dt>The key before</dt>
              <dd>
                <code>{old.id}</code>{' '}
                {old.status === 'active' ? (
                  <>
                    works until <TimeAgo time={old.expires_at} otherwise="" />
                  </>
                ) : (
                  'is refused from now on'
                )}
              </dd>
            </>
          )}
        </dl>
        {isOwn && (
          <p class="muted">
            You are logged in with the key before: log in with the new one once that has ended.
          </p>
        )}
        <a class="button" href={keysPath}>
          Done
        </a>
      </section>
    </>
  )
}

function Copyable({ id, label, text, hasButton = false }: CopyableProps) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="copyable">
        <textarea
          id={id}
          class="code"
          readOnly
          spellcheck={false}
          autocomplete="off"
          rows={hasButton ? 2 : 4}
        >
          {text}
        </textarea>
        {hasButton && (
          // Shown by the script that it needs.
          <button type="button" class="primary" data-copies={id} hidden>
            Copy
          </button>
        )}
      </div>
    </div>
  )
}

type CopyableProps = { id: string; label: string; text: string; hasButton?: boolean }

type KeyDetailsProps = {
  apiKey: ApiKey
  form: KeyForm
  errors: Record<string, string>
  isOwn: boolean
  rateLimitMax: number
}

export function KeyDetails({ apiKey, form, errors, isOwn, rateLimitMax }: KeyDetailsProps) {
  return (
    <>
      <Breadcrumbs current={apiKey.name} />
      <div class="heading">
        <h1>{apiKey.name}</h1>
        <div class="buttons">
          {apiKey.status === 'active' && (
            <a class="button" href={`${keysPath}/${apiKey.id}/rotate`}>
              Rotate
            </a>
          )}
          {apiKey.status !== 'revoked' && (
            <a class="button danger" href={`${keysPath}/${apiKey.id}/revoke`}>
              Revoke
            </a>
          )}
        </div>
      </div>
      <section class="card" aria-label="The key">
        <dl class="facts">
          <dt>Id</dt>
          <dd>
            <code>{apiKey.id}</code>
          </dd>
          <dt>Status</dt>
          <dd>
            <Status of={apiKey} />
            {isOwn && <span class="muted"> You are logged in with it.</span>}
          </dd>
          <dt>Permissions</dt>
          <dd>
            <Tags names={apiKey.permissions} />
          </dd>
          <dt>Limit</dt>
          <dd>
            <Limit of={apiKey} rateLimitMax={rateLimitMax} />
          </dd>
          <dt>Created</dt>
          <dd>
            <TimeAgo time={apiKey.created_at} otherwise="" />
          </dd>
          <dt>Last use</dt>
          <dd>
            <TimeAgo time={apiKey.last_used_at} otherwise="Never" />
          </dd>
          <dt>Expiry</dt>
          <dd>
            <Expiry of={apiKey} />
          </dd>
          {apiKey.revoked_at && (
            <>
              <dt>Revoked</dt>
              <dd>
                <TimeAgo time={apiKey.revoked_at} otherwise="" />
              </dd>
            </>
          )}
          {apiKey.rotated_from !== null && (
            <>
              <dt>Successor of</dt>
              <dd>
                <a href={`${keysPath}/${apiKey.rotated_from}`}>
                  <code>{apiKey.rotated_from}</code>
                </a>
              </dd>
            </>
          )}
        </dl>
      </section>
      {apiKey.status === 'revoked' ? (
        <p class="muted">
          A revoked key stays as it was. <a href={`${keysPath}/new`}>Generate a new key</a> if one is needed.
        </p>
      ) : (
        <section aria-labelledby="edit">
          <h2 id="edit">Edit</h2>
          <Form action={`${keysPath}/${apiKey.id}`} class="card form">
            <ErrorSummary errors={errors} />
            <KeyFields
              form={form}
              errors={errors}
              rateLimitMax={rateLimitMax}
              currentExpiry={apiKey.expires_at}
            />
            <div class="buttons">
              <button class="primary">Save</button>
            </div>
          </Form>
        </section>
      )}
    </>
  )
}

const overlaps: [seconds: number, label: string][] = [
  [0, 'None: the old key ends at once'],
  [3_600, 'An hour'],
  [86_400, 'A day'],
  [604_800, 'A week'],
]

type ConfirmProps = { apiKey: ApiKey; isOwn: boolean }

export function RotateKey({ apiKey, isOwn, successorId }: ConfirmProps & { successorId: string }) {
  return (
    <ConfirmPage
      verb="Rotate"
      of={apiKey}
      consequence={
        <>
          A new key takes the place of <code>{apiKey.id}</code>, with the same name, permissions, limit and
          expiry.
        </>
      }
      warning={isOwn && 'You are logged in with this key: when it ends, so does your session.'}
    >
      <input type="hidden" name="id" value={successorId} />
      <Field
        id="overlap"
        label="Overlap"
        hint="For so long both keys work. The old one never outlives its own expiry."
      >
        {(ariaProps) => (
          <select id="overlap" name="overlap_seconds" {...ariaProps}>
            {overlaps.map(([seconds, label]) => (
              <option key={seconds} value={seconds}>
                {label}
              </option>
            ))}
          </select>
        )}
      </Field>
    </ConfirmPage>
  )
}

export function RevokeKey({ apiKey, isOwn }: ConfirmProps) {
  return (
    <ConfirmPage
      verb="Revoke"
      of={apiKey}
      isFinal
      consequence={
        <>
          Every request with <code>{apiKey.id}</code> is refused from then on, everywhere. This cannot be
          undone.
        </>
      }
      warning={isOwn && 'You are logged in with this key: revoking it logs you out.'}
    />
  )
}

type ConfirmPageProps = {
  verb: 'Rotate' | 'Revoke'
  of: ApiKey
  consequence: ComponentChildren
  warning: string | false
  isFinal?: boolean
  /** What is asked besides. */
  children?: ComponentChildren
}

/** Asks before something is done to a key that clients may depend on. */
function ConfirmPage({ verb, of: key, consequence, warning, isFinal = false, children }: ConfirmPageProps) {
  return (
    <>
      <Breadcrumbs current={verb} of={key} />
      <h1>
        {verb} {key.name}?
      </h1>
      <section class="card form">
        <p>{consequence}</p>
        <LastUse of={key} />
        {warning !== false && <p class="warning">{warning}</p>}
        <Form action={`${keysPath}/${key.id}/${verb.toLowerCase()}`}>
          {children}
          <div class="buttons">
            <button class={isFinal ? 'primary danger' : 'primary'}>{verb}</button>
            <a class="button" href={`${keysPath}/${key.id}`}>
              Cancel
            </a>
          </div>
        </Form>
      </section>
    </>
  )
}

function LastUse({ of: { last_used_at: time } }: { of: ApiKey }) {
  return time ? (
    <p>
      It was last used <TimeAgo time={time} otherwise="" />.
    </p>
  ) : (
    <p>It has never been used.</p>
  )
}

/** Says at the top, and to those who listen, that something further down is wrong. */
function ErrorSummary({ errors }: { errors: Record<string, string> }) {
  if (Object.keys(errors).length === 0) return null
  return (
    <p class="error summary" role="alert">
      Nothing has been saved yet: see what is marked below.
    </p>
  )
}

function Breadcrumbs({ current, of: key }: { current?: string; of?: ApiKey }) {
  return (
    <nav class="crumbs" aria-label="Settings">
      <span>Settings</span>
      <a href={keysPath} aria-current={current === undefined ? 'page' : undefined}>
        API Keys
      </a>
      {key && <a href={`${keysPath}/${key.id}`}>{key.name}</a>}
      {current !== undefined && <span aria-current="page">{current}</span>}
    </nav>
  )
}

function Tags({ names }: { names: string[] }) {
  return (
    <ul class="tags">
      {names.map((name) => (
        <li key={name} class={name === 'admin' ? 'tag strong' : 'tag'}>
          {name}
        </li>
      ))}
    </ul>
  )
}

function Status({ of: { status } }: { of: ApiKey }) {
  return <span class={`status ${status}`}>{status.charAt(0).toUpperCase() + status.slice(1)}</span>
}

function Expiry({ of: { expires_at: time } }: { of: ApiKey }) {
  return <TimeAgo time={time} otherwise="Never" />
}

function TimeAgo({ time, otherwise }: { time: Date | null; otherwise: string }) {
  const now = useContext(Now)
  if (!time) return <span class="muted">{otherwise}</span>
  return (
    <time dateTime={time.toISOString()} class="moment">
      {formatRelative(time, now)} <span class="muted">{formatDateTime(time)}</span>
    </time>
  )
}

function Limit({ of: { rate_limit: limit }, rateLimitMax }: { of: ApiKey; rateLimitMax: number }) {
  return (
    <span class="nowrap">
      {formatNumber(limit ?? rateLimitMax)}{' '}
      <span class="muted">a minute{limit === null && ' (default)'}</span>
    </span>
  )
}
