import { Parser, type Result } from 'tap-parser'
import { stringify } from 'tap-yaml'
import type { FromWorker } from './worker.ts'

/** Parses TAP. Sends failed assertions with the names of their tests, and comments, as they occur. */
export function createReport(send: (message: FromWorker) => void) {
  let passed = 0
  let failed = 0

  function fail(text: string): void {
    failed++
    send({ kind: 'failure', text })
  }

  function watch(parser: Parser, names: string[]): Parser {
    // Failures before the latest subtest.
    let failedBefore = 0
    parser.on('child', (child: Parser) => {
      failedBefore = failed
      watch(child, [...names, child.name])
    })
    parser.on('assert', (result: Result) => {
      // A subtest ends with a result that repeats those of its assertions, unless the subtest itself failed.
      if (result.closingTestPoint && (result.ok || failed > failedBefore)) return
      if (result.ok || result.todo || result.skip) passed++
      else fail(formatFailure([...names, result.name], result))
    })
    parser.on('bailout', (reason: string) => {
      fail(`Bail out! ${reason}`)
    })
    parser.on('comment', (line: string) => {
      const text = line.trim().replace(/^# /, '')
      if (names.length > 0 && !/^(Subtest: |time=)/.test(text)) send({ kind: 'comment', text })
    })
    return parser
  }

  return {
    parser: watch(new Parser(), []),
    /** Returns the numbers of assertions since the last call. */
    takeCounts: () => {
      const counts = { passed, failed }
      passed = 0
      failed = 0
      return counts
    },
  }
}

function formatFailure(names: string[], { diag }: Result): string {
  const details = diag ? `\n${stringify(diag).trimEnd().replaceAll(/^/gm, '    ')}` : ''
  return `${names.join(' > ')}${details}`
}
