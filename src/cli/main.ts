import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeError } from '../operator-error.ts'
import { escapeLine, quote } from '../terminal.ts'
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
    await print(io, `${readVersion()}\n`)
    return 0
  }
  if (first === 'help' || args.some((arg) => arg === '--help' || arg === '-h')) {
    await print(io, formatUsage(selectCommands(first === 'help' ? rest : args)))
    return 0
  }
  const command = commands.find(({ name }) => isPrefix(name.split(' '), args))
  if (!command) throw new UsageError(explainMissingCommand(args))
  return command.run(args.slice(command.name.split(' ').length), io)
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

function explainMissingCommand([first, second]: string[]): string {
  if (first === undefined) return 'A command is required'
  const group = commands.map(({ name }) => name).filter((name) => name.startsWith(`${first} `))
  if (group.length === 0) return `Unknown command ${quote(first)}`
  return second === undefined
    ? `${first} is incomplete: use ${group.join(' or ')}`
    : `Unknown command ${quote(`${first} ${second}`)}`
}

function formatUsage(selected: Command[]): string {
  const synopses = selected.map(({ name, synopsis, description }) => {
    const lines = description.split('\n').map((line) => `      ${line}\n`)
    return `  ${[name, synopsis].filter(Boolean).join(' ')}\n${lines.join('')}`
  })
  const options = '  COMMAND --help\n  --version\n'
  return `Usage:\n${synopses.join('')}${selected.length === commands.length ? options : ''}`
}

function readVersion(): string {
  const file = join(import.meta.dirname, '../../../package.json')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
