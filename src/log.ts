import { type Logger, pino } from 'pino'

/** Creates a logger that writes lines of JSON to stdout. */
export function createLogger(level: string): Logger {
  return pino({ level, timestamp: cachedIsoTime() }, bufferedStdout())
}

/** As pino's isoTime, but formatted once per millisecond, because formatting is a fifth of the cost of a line. */
function cachedIsoTime(): () => string {
  let latest = NaN
  let text = ''
  return () => {
    const now = Date.now()
    if (now !== latest) {
      latest = now
      text = `,"time":"${new Date(now).toISOString()}"`
    }
    return text
  }
}

/**
 * Writes the lines of one turn of the event loop together, because a system call per line is a tenth of the cost of a
 * request. Flushes when the process exits, unless it is killed.
 */
function bufferedStdout(): { write: (line: string) => void } {
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
