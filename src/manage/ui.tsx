import { type ComponentChildren, createContext } from 'preact'
import { useContext } from 'preact/hooks'
import { formatDateTime, formatRelative } from '../wire/time-text.ts'
import { type Access, allows, type Permission } from '../permissions.ts'
import type { FieldErrors } from './form.ts'

export const CsrfToken = createContext('')

/** The current time by the clock of the database, which also set the times that pages show. */
export const Now = createContext(new Date(0))

/** The permissions of the key that is logged in. */
export const Granted = createContext<readonly Permission[]>([])

/** Address of the public page, or undefined if PUBLIC_PAGE is off. */
export const PublicPage = createContext<string | undefined>(undefined)

/** Links what the public page shows to its page there. */
export function PublicLink({ path, isPublic }: { path: string; isPublic: boolean }) {
  const base = useContext(PublicPage)
  if (base === undefined || !isPublic) return null
  return (
    <a class="button" href={base + path}>
      View on the status page
    </a>
  )
}

/** Shows its children only if the key may do this. The route checks it again. */
export function IfAllowed({ access, children }: { access: Access; children: ComponentChildren }) {
  return allows(useContext(Granted), access) ? <>{children}</> : null
}

/** Renders a form that changes data. It contains the CSRF token, without which a POST is rejected. */
export function Form({ children, ...rest }: { action: string; class?: string; children: ComponentChildren }) {
  return (
    <form method="post" {...rest}>
      <input type="hidden" name="_csrf" value={useContext(CsrfToken)} />
      {children}
    </form>
  )
}

/** Hidden fields, by their names. */
export function HiddenFields({ fields }: { fields: Record<string, string> }) {
  return (
    <>
      {Object.entries(fields).map(([name, value]) => (
        <input key={name} type="hidden" name={name} value={value} />
      ))}
    </>
  )
}

type BreadcrumbsProps = {
  /** The pages above the current one, from the list of its section. */
  trail: readonly (readonly [name: string, path: string])[]
  current: string
}

export function Breadcrumbs({ trail, current }: BreadcrumbsProps) {
  return (
    <nav class="breadcrumbs" aria-label="Breadcrumbs">
      {trail.map(([name, path]) => (
        <a key={path} href={path}>
          {name}
        </a>
      ))}
      <span aria-current="page">{current}</span>
    </nav>
  )
}

/** Announces to screen readers that a field further down is invalid. */
export function ErrorSummary({ errors }: { errors: FieldErrors }) {
  if (Object.keys(errors).length === 0) return null
  return (
    <p class="error summary" role="alert">
      Nothing was saved. Correct the marked fields and try again.
    </p>
  )
}

/** Says why a form that was opened before another change was not saved. */
export function ConflictSummary({ resource, children }: { resource: string; children?: ComponentChildren }) {
  return (
    <p class="warning" role="alert">
      <strong>Nothing was saved, because this {resource} was changed after you opened the form.</strong>{' '}
      {children}
    </p>
  )
}

type CopyableProps = { id: string; label: string; text: string; hasButton?: boolean }

export function Copyable({ id, label, text, hasButton = false }: CopyableProps) {
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
          // Hidden until manage.js has loaded, because copying needs a script.
          <button type="button" class="primary" data-copies={id} hidden>
            Copy
          </button>
        )}
      </div>
    </div>
  )
}

/** A time in UTC. manage.js shows it in the time zone of the browser, with UTC in the title. */
export function DateTime({ time }: { time: Date }) {
  return <time dateTime={time.toISOString()}>{formatDateTime(time)}</time>
}

/** A message of a domain function. Its times, in RFC 3339, are shown as DateTime shows them. */
export function Message({ text }: { text: string }) {
  const parts = text.split(/(\d{4}-\d\d-\d\dT[\d:.]+Z)/)
  return (
    <>
      {parts.map((part, index) => (index % 2 === 0 ? part : <DateTime key={index} time={new Date(part)} />))}
    </>
  )
}

/** The id of a key, and a button that copies it. */
export function CopyId({ id, name }: { id: string; name: string }) {
  return (
    <span class="copy-id">
      <code id={`id-${id}`}>{id}</code>
      {/* Hidden until manage.js has loaded, because copying needs a script. */}
      <button
        type="button"
        class="quiet"
        data-copies={`id-${id}`}
        aria-label={`Copy the ID of ${name}`}
        hidden
      >
        Copy
      </button>
    </span>
  )
}

/** A time in a table with one line per row. Its title is the time in UTC. */
export function ShortTime({ time }: { time: Date }) {
  return (
    <time dateTime={time.toISOString()} title={formatDateTime(time)}>
      {formatRelative(time, useContext(Now))}
    </time>
  )
}

/** A time relative to now, and as DateTime shows it. */
export function TimeAgo({ time }: { time: Date }) {
  return (
    <span class="moment">
      {formatRelative(time, useContext(Now))} <DateTime time={time} />
    </span>
  )
}

/** Renders a time that may be unset. */
export function TimeAgoOrNever({ time }: { time: Date | null }) {
  return time ? <TimeAgo time={time} /> : <span class="muted">Never</span>
}

/** A row of a list of facts. */
export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  )
}
