import { type Static, type TSchema, type TUnsafe, Type } from 'typebox'

export function Envelope<Data extends TSchema>(data: Data) {
  return Type.Object({ success: Type.Literal(true), data })
}

export function Page<Item extends TSchema>(item: Item) {
  return Type.Object({
    success: Type.Literal(true),
    data: Type.Array(item),
    pagination: Type.Object({ next_cursor: Nullable(Type.String({ examples: [null] })) }),
  })
}

/** The same, or null. A list of types says so in one line, and is answered with one error, where a union takes three. */
export function Nullable<Schema extends TSchema & { type: string; enum?: unknown[] }>(schema: Schema) {
  return Type.Unsafe<Static<Schema> | null>({
    ...schema,
    type: [schema.type, 'null'],
    ...(schema.enum && { enum: [...schema.enum, null] }),
  })
}

/** One of these texts. That it is a text is said as well: without, validators take longer and readers guess. */
export function StringEnum<const Value extends string>(values: readonly Value[], options: object = {}) {
  const type = 'string' as const
  return Type.Unsafe<Value>({ type, enum: [...values], ...options }) as TUnsafe<Value> & { type: typeof type }
}

export const EmptyObject = Type.Object({}, { additionalProperties: false })

export const AnyObject = Type.Object({})

/** The reply that has no body. */
export const NoContent = Type.Null({ description: 'Done, and nothing to tell' })

/** Every failure. `details` comes with INVALID_REQUEST alone. */
export const ErrorEnvelope = Type.Object(
  {
    success: Type.Literal(false),
    error: Type.Object(
      {
        code: Type.String(),
        message: Type.String(),
        details: Type.Optional(
          Type.Array(
            Type.Object({ path: Type.String(), message: Type.String() }, { additionalProperties: false }),
          ),
        ),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
)

/** For a route that can meet a state which does not allow what it is asked for. */
export const Conflict = {
  ...ErrorEnvelope,
  description: 'CONFLICT',
  examples: [
    { success: false, error: { code: 'CONFLICT', message: 'The key is revoked, which is for good' } },
  ],
}

export const strict = { additionalProperties: false }
