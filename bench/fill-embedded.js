/** Creates a key in the embedded database in DATA_DIR. A separate process, because it locks the directory until it exits. */
import { addKeys, prepare } from './stored.js'

process.send(await prepare({ dataDir: process.env.DATA_DIR }, (db) => addKeys(db, 1)))
process.exit(0)
