import type { ComponentChildren } from 'preact'
import { useContext } from 'preact/hooks'
import type { ApiKey } from '../database/keys.ts'
import { Field } from './form.tsx'
import { Form, Now } from './page.tsx'
import { type KeyForm, KeyFields } from './key-form.tsx'
import { inDigits, inNumbers, inWords } from './words.ts'

const home = '/manage/settings/api-keys'

type List = {
  keys: ApiKey[]
  status: string
  text: string
  isFirst: boolean
  next: string | null
  rateLimitMax: number
}

export function KeyList({ keys, status, text, isFirst, next, rateLimitMax }: List) {
  const isFiltered = status !== '' || text !== ''
  return (
    <>
      <Crumbs />
      <div class="heading">
        <h1>API Keys</h1>
        <a class="button primary" href={`${home}/new`}>
          Generate New Key
        </a>
      </div>
      {/* What the page holds whole, the script filters while one types. */}
      <form
        class="filter"
        method="get"
        action={home}
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
        {isFiltered && <a href={home}>Show all</a>}
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
function KeyTable({ keys, rateLimitMax }: Pick<List, 'keys' | 'rateLimitMax'>) {
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
              <a href={`${home}/${key.id}`}>{key.name}</a>
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
              <Moment time={key.last_used_at} otherwise="Never" />
            </td>
            <td role="cell" data-label="Limit">
              <Limit of={key} rateLimitMax={rateLimitMax} />
            </td>
            <td role="cell" class="actions">
              {key.status === 'active' && (
                <a href={`${home}/${key.id}/rotate`} aria-label={`Rotate ${key.name}`}>
                  Rotate
                </a>
              )}
              {key.status !== 'revoked' && (
                <a class="danger" href={`${home}/${key.id}/revoke`} aria-label={`Revoke ${key.name}`}>
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

function Pages({ isFirst, next, status, text }: Pick<List, 'isFirst' | 'next' | 'status' | 'text'>) {
  if (isFirst && next === null) return null
  const link = (more: Record<string, string>) =>
    `${home}?${new URLSearchParams({ status, q: text, ...more }).toString()}`
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
      <Crumbs here="Generate New Key" />
      <h1>Generate New Key</h1>
      <Form action={`${home}/new`} class="card form">
        <input type="hidden" name="id" value={id} />
        <ErrorSummary errors={errors} />
        <KeyFields form={form} errors={errors} rateLimitMax={rateLimitMax} />
        <div class="buttons">
          <button class="primary">Create</button>
          <a class="button" href={home}>
            Cancel
          </a>
        </div>
      </Form>
    </>
  )
}

type Issued = { stored: ApiKey; text: string; origin: string; old?: ApiKey; isOwn?: boolean }

/** The one page that shows a key. */
export function IssuedKey({ stored, text, origin, old, isOwn = false }: Issued) {
  return (
    <>
      <Crumbs here="New key" />
      <h1>Copy your new key</h1>
      <section class="card issued">
        <p class="warning">
          <strong>Copy it now: it won’t be shown again.</strong> The service keeps a hash of it, and nobody
          can read the key from that.
        </p>
        <Copyable id="new-key" label={`API key: ${stored.name}`} text={text} hasButton />
        <Copyable
          id="try-it"
          label="Try it in a terminal"
          text={`curl -X GET ${origin}/api/me -H "Authorization: Bearer ${text}"`}
        />
        <dl class="facts">
          <dt>Permissions</dt>
          <dd>
            <Tags names={stored.permissions} />
          </dd>
          <dt>Expiry</dt>
          <dd>
            <Expiry of={stored} />
          </dd>
          {old?.expires_at && (
            <>
              <dt>The key before</dt>
              <dd>
                <code>{old.id}</code>{' '}
                {old.status === 'active' ? (
                  <>
                    works until <Moment time={old.expires_at} otherwise="" />
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
        <a class="button" href={home}>
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

type Details = {
  stored: ApiKey
  form: KeyForm
  errors: Record<string, string>
  isOwn: boolean
  rateLimitMax: number
}

export function KeyDetails({ stored, form, errors, isOwn, rateLimitMax }: Details) {
  return (
    <>
      <Crumbs here={stored.name} />
      <div class="heading">
        <h1>{stored.name}</h1>
        <div class="buttons">
          {stored.status === 'active' && (
            <a class="button" href={`${home}/${stored.id}/rotate`}>
              Rotate
            </a>
          )}
          {stored.status !== 'revoked' && (
            <a class="button danger" href={`${home}/${stored.id}/revoke`}>
              Revoke
            </a>
          )}
        </div>
      </div>
      <section class="card" aria-label="The key">
        <dl class="facts">
          <dt>Id</dt>
          <dd>
            <code>{stored.id}</code>
          </dd>
          <dt>Status</dt>
          <dd>
            <Status of={stored} />
            {isOwn && <span class="muted"> You are logged in with it.</span>}
          </dd>
          <dt>Permissions</dt>
          <dd>
            <Tags names={stored.permissions} />
          </dd>
          <dt>Limit</dt>
          <dd>
            <Limit of={stored} rateLimitMax={rateLimitMax} />
          </dd>
          <dt>Created</dt>
          <dd>
            <Moment time={stored.created_at} otherwise="" />
          </dd>
          <dt>Last use</dt>
          <dd>
            <Moment time={stored.last_used_at} otherwise="Never" />
          </dd>
          <dt>Expiry</dt>
          <dd>
            <Expiry of={stored} />
          </dd>
          {stored.revoked_at && (
            <>
              <dt>Revoked</dt>
              <dd>
                <Moment time={stored.revoked_at} otherwise="" />
              </dd>
            </>
          )}
          {stored.rotated_from !== null && (
            <>
              <dt>Successor of</dt>
              <dd>
                <a href={`${home}/${stored.rotated_from}`}>
                  <code>{stored.rotated_from}</code>
                </a>
              </dd>
            </>
          )}
        </dl>
      </section>
      {stored.status === 'revoked' ? (
        <p class="muted">
          A revoked key stays as it was. <a href={`${home}/new`}>Generate a new key</a> if one is needed.
        </p>
      ) : (
        <section aria-labelledby="edit">
          <h2 id="edit">Edit</h2>
          <Form action={`${home}/${stored.id}`} class="card form">
            <ErrorSummary errors={errors} />
            <KeyFields form={form} errors={errors} rateLimitMax={rateLimitMax} kept={stored.expires_at} />
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

type Asked = { stored: ApiKey; isOwn: boolean }

export function RotateKey({ stored, isOwn, successorId }: Asked & { successorId: string }) {
  return (
    <Question
      verb="Rotate"
      of={stored}
      consequence={
        <>
          A new key takes the place of <code>{stored.id}</code>, with the same name, permissions, limit and
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
        {(described) => (
          <select id="overlap" name="overlap_seconds" {...described}>
            {overlaps.map(([seconds, label]) => (
              <option key={seconds} value={seconds}>
                {label}
              </option>
            ))}
          </select>
        )}
      </Field>
    </Question>
  )
}

export function RevokeKey({ stored, isOwn }: Asked) {
  return (
    <Question
      verb="Revoke"
      of={stored}
      isFinal
      consequence={
        <>
          Every request with <code>{stored.id}</code> is refused from then on, everywhere. This cannot be
          undone.
        </>
      }
      warning={isOwn && 'You are logged in with this key: revoking it logs you out.'}
    />
  )
}

type QuestionProps = {
  verb: 'Rotate' | 'Revoke'
  of: ApiKey
  consequence: ComponentChildren
  warning: string | false
  isFinal?: boolean
  /** What is asked besides. */
  children?: ComponentChildren
}

/** Asks before something is done to a key that clients may depend on. */
function Question({ verb, of: key, consequence, warning, isFinal = false, children }: QuestionProps) {
  return (
    <>
      <Crumbs here={verb} of={key} />
      <h1>
        {verb} {key.name}?
      </h1>
      <section class="card form">
        <p>{consequence}</p>
        <LastUse of={key} />
        {warning !== false && <p class="warning">{warning}</p>}
        <Form action={`${home}/${key.id}/${verb.toLowerCase()}`}>
          {children}
          <div class="buttons">
            <button class={isFinal ? 'primary danger' : 'primary'}>{verb}</button>
            <a class="button" href={`${home}/${key.id}`}>
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
      It was last used <Moment time={time} otherwise="" />.
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

function Crumbs({ here, of: key }: { here?: string; of?: ApiKey }) {
  return (
    <nav class="crumbs" aria-label="Settings">
      <span>Settings</span>
      <a href={home} aria-current={here === undefined ? 'page' : undefined}>
        API Keys
      </a>
      {key && <a href={`${home}/${key.id}`}>{key.name}</a>}
      {here !== undefined && <span aria-current="page">{here}</span>}
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
  return <Moment time={time} otherwise="Never" />
}

function Moment({ time, otherwise }: { time: Date | null; otherwise: string }) {
  const now = useContext(Now)
  if (!time) return <span class="muted">{otherwise}</span>
  return (
    <time dateTime={time.toISOString()} class="moment">
      {inWords(time, now)} <span class="muted">{inDigits(time)}</span>
    </time>
  )
}

function Limit({ of: { rate_limit: limit }, rateLimitMax }: { of: ApiKey; rateLimitMax: number }) {
  return (
    <span class="nowrap">
      {inNumbers(limit ?? rateLimitMax)} <span class="muted">a minute{limit === null && ' (default)'}</span>
    </span>
  )
}
