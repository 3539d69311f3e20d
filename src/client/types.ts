import type { paths } from './openapi.ts'

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'

/** The paths that have this method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, object> ? P : never
}[keyof paths]

type Operation<P extends keyof paths, M extends Method> = paths[P][M]

type Json<O> = O extends { responses: infer Responses }
  ? Responses[keyof Responses] extends { content: { 'application/json': infer Body } }
    ? Body
    : { data: undefined }
  : never

/** The data of a response, such as `Data<'/api/monitors/{tag}', 'get'>`. */
export type Data<P extends keyof paths, M extends Method> =
  Json<Operation<P, M>> extends { data: infer D } ? D : never

/** The response without `success`, because other responses are errors. */
export type Result<P extends keyof paths, M extends Method> = Omit<Json<Operation<P, M>>, 'success'> & {
  status: number
  /** For example `headers.get('etag')`. */
  headers: Headers
}

export type ListPath = {
  [P in PathOf<'get'>]: Json<Operation<P, 'get'>> extends { data: unknown[]; pagination: unknown } ? P : never
}[PathOf<'get'>]

export type Item<P extends ListPath> = Data<P, 'get'> extends (infer I)[] ? I : never

/** A parameter with this name, if the operation has such values; optional if all of them are. */
type Field<Name extends string, Values> = [Values] extends [undefined]
  ? unknown
  : Partial<Values> extends Values
    ? { [N in Name]?: Values }
    : { [N in Name]: Values }

type Parameter<O, Location extends string> = O extends { parameters: Partial<Record<Location, infer Values>> }
  ? Values
  : undefined

type Body<O> = O extends { requestBody: { content: { 'application/json': infer Values } } }
  ? { body: Values }
  : O extends { requestBody?: { content: { 'application/json': infer Values } } }
    ? { body?: Values }
    : unknown

export type Options<P extends keyof paths, M extends Method> = Field<
  'path',
  Parameter<Operation<P, M>, 'path'>
> &
  Field<'query', Parameter<Operation<P, M>, 'query'>> &
  // A GET returns its data: If-None-Match would save nothing that the client stores.
  (M extends 'get' ? unknown : Field<'headers', Parameter<Operation<P, M>, 'header'>>) &
  Body<Operation<P, M>> & {
    /** Aborts the request, and the wait before a retry. */
    signal?: AbortSignal
  }

/** The options may be absent if none is required. */
export type Arguments<P extends keyof paths, M extends Method> =
  Partial<Options<P, M>> extends Options<P, M> ? [options?: Options<P, M>] : [options: Options<P, M>]
