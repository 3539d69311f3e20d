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

type FieldProps = {
  id: string
  label: string
  hint?: ComponentChildren
  error?: string | undefined
  /** Renders the control with the attributes that link it to its hint and error. */
  children: (ariaProps: AriaProps) => ComponentChildren
}

type AriaProps = { 'aria-describedby': string | undefined; 'aria-invalid': true | undefined }

export function Field({ id, label, hint, error, children }: FieldProps) {
  const ariaProps: AriaProps = {
    'aria-describedby': messageIds(id, hint, error),
    'aria-invalid': error === undefined ? undefined : true,
  }
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(ariaProps)}
      <FieldMessages id={id} hint={hint} error={error} />
    </div>
  )
}

type FieldGroupProps = Omit<FieldProps, 'children'> & { children: ComponentChildren }

/** Groups controls under one label, as a part of a form. */
export function FieldGroup({ id, label, hint, error, children }: FieldGroupProps) {
  return (
    <fieldset class="part" id={id} aria-describedby={messageIds(id, hint, error)}>
      <legend>{label}</legend>
      <FieldMessages id={id} hint={hint} error={error} />
      {children}
    </fieldset>
  )
}

function messageIds(id: string, hint: ComponentChildren, error: string | undefined): string | undefined {
  const ids = [error !== undefined && `${id}-error`, hint !== undefined && `${id}-hint`].filter(Boolean)
  return ids.join(' ') || undefined
}

function FieldMessages({ id, hint, error }: Pick<FieldProps, 'id' | 'hint' | 'error'>) {
  return (
    <>
      {error !== undefined && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
      {hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </>
  )
}

type DateTimeFieldProps = Omit<FieldProps, 'children'> & { name: string; value: string; required?: boolean }

/** A time in UTC. manage.js adds the local time below. */
export function DateTimeField({ name, value, required = false, ...field }: DateTimeFieldProps) {
  return (
    <Field {...field}>
      {(ariaProps) => (
        <input
          id={field.id}
          name={name}
          type="datetime-local"
          value={value}
          required={required}
          max="9999-12-31T23:59"
          data-utc
          {...ariaProps}
        />
      )}
    </Field>
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

type FilterFormProps = {
  path: string
  /** True if the list is not the one that the path shows without a query. */
  isFiltered: boolean
  /** True for more fields than fit in one line. */
  isLong?: boolean
  children: ComponentChildren
}

export function FilterForm({ path, isFiltered, isLong = false, children }: FilterFormProps) {
  return (
    <form class={isLong ? 'filter long' : 'filter'} method="get" action={path} role="search">
      {children}
      <div class="buttons">
        <button>Filter</button>
        {isFiltered && (
          <a class="button quiet" href={path}>
            Clear the filters
          </a>
        )}
      </div>
    </form>
  )
}

type FilterTextProps = { name: string; label: string; value: string; maxLength?: number }

export function FilterText({ label, maxLength = 255, ...attributes }: FilterTextProps) {
  return (
    <label>
      <span>{label}</span>
      <input type="search" {...attributes} maxLength={maxLength} autocomplete="off" spellcheck={false} />
    </label>
  )
}

type FilterSelectProps = {
  name: string
  label: string
  value: string
  options: readonly (readonly [value: string, label: string])[]
}

export function FilterSelect({ name, label, value, options }: FilterSelectProps) {
  return (
    <label>
      <span>{label}</span>
      <select name={name}>
        {options.map(([option, text]) => (
          <option key={option} value={option} selected={option === value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  )
}

/** Replaces a list of which no item matches the filters. @param items in the plural */
export function NoMatches({ items, path }: { items: string; path: string }) {
  return (
    <p class="empty card">
      No {items} match these filters. <a href={path}>Clear the filters</a>
    </p>
  )
}

type PageLinksProps = {
  path: string
  /** The query of the page, without its cursor. */
  fields: Record<string, string>
  isFirst: boolean
  /** Cursor of the next page. */
  next: string | null
  labels: [first: string, next: string]
}

/** Links to the first and the next page of a list. */
export function PageLinks({ path, fields, isFirst, next, labels }: PageLinksProps) {
  if (isFirst && next === null) return null
  const toPath = (more: Record<string, string>) =>
    `${path}?${new URLSearchParams({ ...fields, ...more }).toString()}`
  return (
    <nav class="pages" aria-label="Pages">
      {!isFirst && <a href={toPath({})}>{labels[0]}</a>}
      {next !== null && <a href={toPath({ cursor: next })}>{labels[1]}</a>}
    </nav>
  )
}
