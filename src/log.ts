import { constants, openSync, writeSync } from 'node:fs'
import { type Logger, pino } from 'pino'

/** For the metrics. */
export const logStats = { droppedLines: 0 }

/** Unwritten lines that are kept in memory, in characters: those of a second under full load. */
const maxPendingLength = 1_048_576

/** Longest wait before the next attempt to write. It starts at 1 ms, and doubles until an attempt succeeds. */
const maxRetryMs = 100

/** At exit, how long lines wait for a reader. */
const exitTimeoutMs = 200

/** Creates a logger that writes lines of JSON to stdout. */
export function createLogger(level: string): Logger {
  const { write, flushBeforeExit } = bufferedOutput(openStdout(), (droppedLines) => {
    logger.warn({ droppedLines }, 'log lines were dropped, because they could not be written to stdout')
  })
  const logger = pino({ level, timestamp: cachedIsoTime() }, { write })
  process.once('exit', flushBeforeExit)
  return logger
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
 * Returns a descriptor of stdout that does not block when its reader is stuck. Node makes pipes and sockets non-blocking
 * when `process.stdout` is first read. A terminal, which blocks after Ctrl+S, is opened again, so that other programs on
 * it are not affected. Files never block.
 */
function openStdout(): number {
  if (!process.stdout.isTTY) return 1
  try {
    return openSync('/dev/stdout', constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch {
    // The terminal belongs to another user (su), which may only use it as it is.
    return 1
  }
}

/**
 * Writes the lines of one turn of the event loop together, because a system call per line is a tenth of the cost of a
 * request. Lines that cannot be written now (the disk is full, or a reader is stuck) are written later. Beyond
 * `maxPendingLength` they are dropped, because neither may end or block the process.
 * @param fd non-blocking
 * @param onRecovered called when all kept lines are written, with the number of lines that were dropped before
 */
export function bufferedOutput(fd: number, onRecovered: (droppedLines: number) => void) {
  let lines = ''
  /** The rest of lines that were written only partly. */
  let rest = Buffer.alloc(0)
  let isScheduled = false
  let retryMs = 1
  let dropped = 0

  function write(line: string): void {
    if (lines.length + rest.length > maxPendingLength) {
      dropped++
      logStats.droppedLines++
      return
    }
    lines += line
    if (isScheduled) return
    isScheduled = true
    setImmediate(flush)
  }

  function flush(): void {
    isScheduled = false
    const isWritten = attempt()
    if (lines !== '' || rest.length > 0) {
      retryMs = isWritten ? 1 : Math.min(retryMs * 2, maxRetryMs)
      isScheduled = true
      setTimeout(flush, retryMs).unref()
    } else if (dropped > 0) {
      const count = dropped
      dropped = 0
      onRecovered(count)
    }
  }

  /** @returns false if nothing could be written. */
  function attempt(): boolean {
    if (rest.length === 0) {
      rest = Buffer.from(lines)
      lines = ''
    }
    try {
      rest = rest.subarray(writeSync(fd, rest))
      return true
    } catch {
      // There is no other place to report it to: onRecovered does, once lines can be written again.
      return false
    }
  }

  function flushBeforeExit(): void {
    const deadline = performance.now() + exitTimeoutMs
    while ((lines !== '' || rest.length > 0) && performance.now() < deadline) {
      if (!attempt()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }

  return { write, flushBeforeExit }
}
