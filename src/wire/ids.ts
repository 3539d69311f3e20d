import { Type } from 'typebox'
import { maxId } from './validator.ts'

/** Id of an incident, a comment, a maintenance or an event. */
export const Id = Type.Integer({
  minimum: 1,
  maximum: maxId,
  description: 'Id, a positive integer.',
})

export const IdParams = Type.Object({ id: Id })
