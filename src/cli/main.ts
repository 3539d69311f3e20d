import { describeError } from '../operator-error.ts'
import { escapeLine, quote } from '../terminal.ts'
import { version } from '../version.ts'
import { UsageError } from './arguments.ts'
import { type Command, commands } from './commands.ts'
import { BrokenPipeError, type Io, print, printError } from './io.ts'

/**
 * Runs one command.
 * @param args the arguments after the program's name
 * @returns the exit code: 0 for success, 1 for a failure, 2 for a usage error; others are those of the command
 */
export async function main(args: string[], io: Io): Promise<number> {
  try {
    return await run(args, io)
  } catch (error) {
    if (error instanceof UsageError) {
      printError(io, `kener-api: ${escapeLine(error.message)}\n\n${formatUsage(selectCommands(args))}`)
      return 2
    }
    if (!(error instanceof BrokenPipeError)) printError(io, describeError(error))
    return 1
  }
}

async function run(args: string[], io: Io): Promise<number> {
  const [first, ...rest] = args
  if (first === '--version') {
    await print(io, `${version}\n`)
    return 0
  }
  if (first === 'help' || args.some((arg) => arg === '--help' || arg === '-h')) {
    await print(io, formatUsage(selectCommands(first === 'help' ? rest : args)))
    return 0
  }
  const words = first === undefined || first.startsWith('-') ? ['serve', ...args] : args
  const command = commands.find(({ name }) => isPrefix(name.split(' '), words))
  if (!command) throw new UsageError(explainUnknownCommand(words))
  return command.run(words.slice(command.name.split(' ').length), io)
}

/** Returns the named command, or all commands of the named group, or all commands. */
function selectCommands(args: string[]): Command[] {
  const named = commands.filter(({ name }) => isPrefix(name.split(' '), args))
  const group = commands.filter(({ name }) => isPrefix(args.slice(0, 1), name.split(' ')))
  return [named, group].find(({ length }) => length > 0) ?? commands
}

function isPrefix(words: string[], args: string[]): boolean {
  return words.every((word, index) => word === args[index])
}

function explainUnknownCommand([first = '', second]: string[]): string {
  const names = commands.map(({ name }) => name)
  const group = names.filter((name) => name.startsWith(`${first} `))
  if (group.length > 0) {
    const cause =
      second === undefined ? `${first} is incomplete` : `Unknown command ${quote(`${first} ${second}`)}`
    return `${cause}: use ${group.join(' or ')}`
  }
  const start = first.slice(0, 3)
  const similar = names.filter((name) => name.split(' ').some((word) => word.startsWith(start)))
  const hint = similar.length > 0 ? `. Did you mean ${similar.join(' or ')}?` : ''
  return `Unknown command ${quote(first)}${hint}`
}

function formatUsage(selected: Command[]): string {
  const [command, ...others] = selected
  if (command && others.length === 0) return `Usage:\n${formatCommand(command)}`
  const width = Math.max(...selected.map(({ name }) => name.length))
  const lines = selected.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}\n`)
  return `Usage:
  kener-api [COMMAND]

Commands:
${lines.join('')}
  kener-api COMMAND --help   describes a command and its options
  kener-api --version        prints the version
`
}

function formatCommand({ name, synopsis, summary, description }: Command): string {
  const lines = [`${summary}.`, ...description.split('\n')].map((line) => `    ${line}\n`)
  return `  ${['kener-api', name, synopsis].filter(Boolean).join(' ')}\n${lines.join('')}`
}
