import { type Static, type TSchema, type TUnsafe, Type } from 'typebox'

const Success = Type.Literal(true, { description: 'true' })

export function Envelope<Data extends TSchema>(data: Data) {
  return Type.Object({ success: Success, data })
}

export function Page<Item extends TSchema>(item: Item) {
  return Type.Object({
    success: Success,
    data: Type.Array(item, { description: 'The items of this page' }),
    pagination: Type.Object({
      next_cursor: Nullable(
        Type.String({ description: 'The cursor of the next page; null on the last page', examples: [null] }),
      ),
    }),
  })
}

/** The same schema with a description. Apply it before Type.Optional, which a copy would lose. */
export function describe<Schema extends TSchema>(schema: Schema, description: string): Schema {
  return { ...schema, description }
}

/** The same schema, or null. A list of types gives one validation error, a union three. */
export function Nullable<Schema extends TSchema & { type: string; enum?: unknown[] }>(schema: Schema) {
  return Type.Unsafe<Static<Schema> | null>({
    ...schema,
    type: [schema.type, 'null'],
    ...(schema.enum && { enum: [...schema.enum, null] }),
  })
}

/** One of these strings. States the type too, because validation is faster with it. */
export function StringEnum<const Value extends string>(values: readonly Value[], options: object = {}) {
  const type = 'string' as const
  return Type.Unsafe<Value>({ type, enum: [...values], ...options }) as TUnsafe<Value> & { type: typeof type }
}

export const EmptyObject = Type.Object({}, { additionalProperties: false })

export const AnyObject = Type.Object({})

/** The schema of a 204 response. */
export const NoContent = Type.Null({ description: 'Done. The response has no body.' })

/** Every error. Only INVALID_REQUEST has `details`. */
export const ErrorEnvelope = Type.Object(
  {
    success: Type.Literal(false, { description: 'false' }),
    error: Type.Object(
      {
        code: Type.String({ description: 'Identifies the error for programs' }),
        message: Type.String({ description: 'Describes the error for people' }),
        details: Type.Optional(
          Type.Array(
            Type.Object(
              {
                path: Type.String({ description: 'JSON pointer to the invalid value' }),
                message: Type.String({ description: 'What is allowed there' }),
              },
              { additionalProperties: false },
            ),
          ),
        ),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
)

/** The 409 response of a route whose request can conflict with the state of the resource. */
export const Conflict = {
  ...ErrorEnvelope,
  description: 'CONFLICT: the state of the resource does not allow the request',
  examples: [
    {
      success: false,
      error: { code: 'CONFLICT', message: 'The key is revoked, which is final: create a new key' },
    },
  ],
}

export const strict = { additionalProperties: false }
