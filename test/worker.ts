import t from 'tap'
import { createReport, endOfFile } from './report.ts'

/**
 * Imports test files, one after the other, as the runner sends their paths, and sends back the results. Files share a
 * process, because importing tap and the service takes longer than most of them run.
 */
export type FromWorker =
  | { kind: 'failure' | 'comment'; text: string }
  | { kind: 'end'; passed: number; failed: number; cpuMs: number }

const report = createReport((message) => process.send?.(message))

// The runner has a timeout per file. That of tap would apply to the whole process.
t.setTimeout(0)
// With a teardown, tap would end this test when it is idle, and with it the following files. Those that a file registers
// run at its end, in reverse order as those of tap.
const teardowns: (() => unknown)[] = []
t.teardown = (callback) => {
  teardowns.push(callback)
}
t.pipe(report.parser)

process.on('message', ({ file }: { file?: string }) => {
  if (file !== undefined) {
    void run(file)
    return
  }
  // The process exits when nothing is left open.
  t.end()
  process.disconnect()
})

async function run(file: string): Promise<void> {
  const before = process.cpuUsage()
  await attempt(() => import(file))
  for (let teardown; (teardown = teardowns.pop());) await attempt(teardown)
  t.pass(endOfFile)
  const { user, system } = process.cpuUsage(before)
  process.send?.({ kind: 'end', ...report.takeCounts(), cpuMs: (user + system) / 1000 } satisfies FromWorker)
}

async function attempt(step: () => unknown): Promise<void> {
  try {
    await step()
  } catch (error) {
    t.fail('the file runs without an error', { error })
  }
}
