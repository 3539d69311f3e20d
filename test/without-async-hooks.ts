import asyncHooks from 'node:async_hooks'
import { syncBuiltinESMExports } from 'node:module'

/**
 * Disables async_hooks in a worker, before tap loads. tap uses them to assign an uncaught error to the test in which it
 * was thrown, and they take a sixth of the CPU time of all tests. Without them an uncaught error ends the worker, and
 * the runner reports it with the file.
 */
const disabled = { enable: () => disabled, disable: () => disabled }
asyncHooks.createHook = () => disabled
syncBuiltinESMExports()
