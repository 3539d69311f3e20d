import { type Logger, pino, stdTimeFunctions } from 'pino'

/** Lines of JSON on stdout. */
export function createLogger(level: string): Logger {
  return pino({ level, timestamp: stdTimeFunctions.isoTime }, gatherTurns())
}

/**
 * The lines of one turn of the event loop go out in one write: a system call for each would be a tenth of what a
 * request costs. The last ones go out as the process ends, however that comes, if it is not killed.
 */
function gatherTurns(): { write: (line: string) => void } {
  const stdout = pino.destination({ fd: 1, sync: true })
  let lines = ''

  function flush(): void {
    if (lines === '') return
    stdout.write(lines)
    lines = ''
  }

  process.once('exit', flush)
  return {
    write: (line) => {
      if (lines === '') setImmediate(flush)
      lines += line
    },
  }
}
