import { workerData } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'

/** Runs in a worker thread: creates the embedded database in the directory that is the worker's data. */
const pglite = await PGlite.create(workerData as string)
await pglite.close()
