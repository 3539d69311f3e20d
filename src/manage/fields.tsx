import type { ComponentChildren } from 'preact'

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

type ControlProps = Omit<FieldProps, 'children'> & {
  /** The id, unless it is another one. */
  name?: string
  value: string
}

type TextProps = ControlProps & {
  required?: boolean
  maxLength?: number
  class?: string
  placeholder?: string
  spellcheck?: boolean
  autocapitalize?: 'none'
}

type TextFieldProps = TextProps & {
  type?: 'date' | 'datetime-local'
  inputMode?: 'decimal' | 'numeric' | 'url'
  max?: string
  autofocus?: boolean
}

export function TextField({ id, name = id, label, hint, error, ...attributes }: TextFieldProps) {
  return (
    <Field {...{ id, label, hint, error }}>
      {(ariaProps) => <input id={id} name={name} autocomplete="off" {...attributes} {...ariaProps} />}
    </Field>
  )
}

export function TextAreaField({
  id,
  name = id,
  label,
  hint,
  error,
  value,
  ...attributes
}: TextProps & { rows: number }) {
  return (
    <Field {...{ id, label, hint, error }}>
      {(ariaProps) => (
        <textarea id={id} name={name} {...attributes} {...ariaProps}>
          {value}
        </textarea>
      )}
    </Field>
  )
}

/** The choices of a select, with their labels. */
export type Choices = readonly (readonly [value: string, label: string])[]

type SelectFieldProps = ControlProps & { choices: Choices }

export function SelectField({
  id,
  name = id,
  label,
  hint,
  error,
  value,
  choices,
  ...attributes
}: SelectFieldProps) {
  return (
    <Field {...{ id, label, hint, error }}>
      {(ariaProps) => (
        <select id={id} name={name} {...attributes} {...ariaProps}>
          <Options choices={choices} value={value} />
        </select>
      )}
    </Field>
  )
}

export function Options({ choices, value }: { choices: Choices; value: string }) {
  return (
    <>
      {choices.map(([choice, label]) => (
        <option key={choice} value={choice} selected={choice === value}>
          {label}
        </option>
      ))}
    </>
  )
}

type CheckboxProps = {
  name: string
  isChecked: boolean
  error: string | undefined
  children: ComponentChildren
}

export function Checkbox({ name, isChecked, error, children }: CheckboxProps) {
  return (
    <div>
      <label class="choice">
        <input
          type="checkbox"
          name={name}
          value="yes"
          checked={isChecked}
          aria-describedby={messageIds(name, undefined, error)}
        />
        <span>{children}</span>
      </label>
      <FieldMessages id={name} error={error} />
    </div>
  )
}

type DateTimeFieldProps = Omit<FieldProps, 'children'> & { name: string; value: string; required?: boolean }

/** A time in UTC. manage.js adds the local time below. */
export function DateTimeField(props: DateTimeFieldProps) {
  return <TextField {...props} type="datetime-local" max="9999-12-31T23:59" data-utc />
}
