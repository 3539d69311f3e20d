import { type Static, type TSchema, type TUnsafe, Type } from 'typebox'
import type { ApiError } from '../errors.ts'

const Success = Type.Literal(true, { description: 'Always true: the request succeeded.' })

export function Envelope<Data extends TSchema>(data: Data) {
  return Type.Object({ success: Success, data: { description: 'The result.', ...data } })
}

export function Page<Item extends TSchema>(item: Item) {
  return Type.Object({
    success: Success,
    data: Type.Array(item, { description: 'Items of this page.' }),
    pagination: Type.Object(
      {
        next_cursor: Nullable(
          Type.String({
            description: 'Value of `cursor` for the next page. Null: this is the last page.',
            examples: [null],
          }),
        ),
      },
      { description: 'Position in the list.' },
    ),
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
export const NoContent = Type.Null({ description: 'Deleted. The response has no body.' })

/** The schema of a 304 response. */
export const NotModified = Type.Null({ description: 'The ETag matches. The response has no body.' })

/** Every error. Only INVALID_REQUEST has `details`. */
export const ErrorEnvelope = Type.Object(
  {
    success: Type.Literal(false, { description: 'Always false: the request failed.' }),
    error: Type.Object(
      {
        code: Type.String({ description: 'Identifies the kind of error, for programs.' }),
        message: Type.String({ description: 'Describes the error, for people. It may change.' }),
        details: Type.Optional(
          Type.Array(
            Type.Object(
              {
                path: Type.String({
                  description: 'JSON Pointer (RFC 6901) to the invalid value. Empty: the whole request.',
                }),
                message: Type.String({ description: 'What is allowed there.' }),
              },
              { additionalProperties: false },
            ),
            { description: 'The invalid values, at most 20. Only of an invalid request (400).' },
          ),
        ),
      },
      { additionalProperties: false, description: 'The error.' },
    ),
  },
  { additionalProperties: false },
)

/**
 * The 409 response of a route.
 * @param reason why the state of the resource does not allow the request
 * @param example error of that reason
 */
export function Conflict(reason: string, { code, message }: ApiError) {
  return {
    ...ErrorEnvelope,
    description: `CONFLICT: ${reason}`,
    examples: [{ success: false, error: { code, message } }],
  }
}

export const strict = { additionalProperties: false }
