import { buildApp } from '../src/app.ts'
import { readConfig } from '../src/config.ts'
import type { Database } from '../src/database/open.ts'

/** Prints the description of the API, for a linter. It needs no database, because it sends no statement. */
const app = buildApp({ config: readConfig({}), ...({} as Database) })
await app.ready()
process.stdout.write(`${JSON.stringify(app.swagger(), null, 2)}\n`)
