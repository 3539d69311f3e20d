/** Puts a key into the embedded database in DATA_DIR; in a process of its own, which holds the directory until it ends. */
import { addKeys, prepare } from './stored.js'

process.send(await prepare({ dataDir: process.env.DATA_DIR }, (db) => addKeys(db, 1)))
process.exit(0)
