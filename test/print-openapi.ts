import type { Kysely } from 'kysely'
import { buildApp } from '../src/app.ts'
import { readConfig } from '../src/config.ts'
import type { Tables } from '../src/database/schema.ts'

/** Prints the description of the API, for a linter. No database is needed: nothing is asked of it. */
const app = buildApp({ config: readConfig({}), db: Object.create(null) as Kysely<Tables> })
await app.ready()
process.stdout.write(`${JSON.stringify(app.swagger(), null, 2)}\n`)
