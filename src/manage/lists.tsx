import type { ComponentChildren } from 'preact'
import { type Choices, Options } from './fields.tsx'

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
  options: Choices
}

export function FilterSelect({ name, label, value, options }: FilterSelectProps) {
  return (
    <label>
      <span>{label}</span>
      <select name={name}>
        <Options choices={options} value={value} />
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
