import type { ComponentChildren } from 'preact'
import { ApiError } from '../errors.ts'

/** What a form holds of this name; '' when it holds nothing, or something that no form of ours sends. */
export function readText(body: unknown, name: string): string {
  const value = (body as Record<string, unknown> | undefined)?.[name]
  return typeof value === 'string' ? value : ''
}

/** All values of this name, as checkboxes send them. */
export function readTexts(body: unknown, name: string): string[] {
  const value = (body as Record<string, unknown> | undefined)?.[name]
  return [value].flat().filter((text) => typeof text === 'string')
}

type AriaProps = { 'aria-describedby': string | undefined; 'aria-invalid': true | undefined }

type FieldProps = {
  id: string
  label: string
  hint?: ComponentChildren
  error?: string | undefined
  /** The control itself, to which what stands around it is tied. */
  children: (ariaProps: AriaProps) => ComponentChildren
}

export function Field({ id, label, hint, error, children }: FieldProps) {
  const ariaProps = toAriaProps(id, hint, error)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(ariaProps)}
      <FieldMessages id={id} hint={hint} error={error} />
    </div>
  )
}

/** For several controls that are one question. */
export function FieldGroup({ id, label, hint, error, children }: Omit<FieldProps, 'children'> & Children) {
  return (
    <fieldset class="field" id={id} aria-describedby={messageIds(id, hint, error)}>
      <legend>{label}</legend>
      {children}
      <FieldMessages id={id} hint={hint} error={error} />
    </fieldset>
  )
}

type Children = { children: ComponentChildren }

function toAriaProps(id: string, hint: ComponentChildren, error: string | undefined): AriaProps {
  return {
    'aria-describedby': messageIds(id, hint, error),
    'aria-invalid': error === undefined ? undefined : true,
  }
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

/** By field, what a refusal says of it; undefined when it says nothing of fields. */
export function toFieldErrors(error: unknown): Record<string, string> | undefined {
  if (!(error instanceof ApiError) || !error.details) return undefined
  return Object.fromEntries(error.details.map(({ path, message }) => [path.split('/')[1] ?? '', message]))
}
