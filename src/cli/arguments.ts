import { parseArgs, type ParseArgsConfig } from 'node:util'
import { escapeLine, quote } from '../terminal.ts'

/** A usage error: the process prints the message and the usage, and exits with code 2. */
export class UsageError extends Error {}

/**
 * Parses the arguments after the name of a command.
 * @param operandsMax how many positional arguments the command accepts
 * @throws UsageError
 */
export function parseArguments<Options extends NonNullable<ParseArgsConfig['options']>>(
  args: string[],
  options: Options,
  operandsMax = 0,
) {
  const { values, positionals, tokens } = parse(args, options)
  const excess = positionals[operandsMax]
  if (excess !== undefined) throw new UsageError(`Unexpected argument ${quote(excess)}`)
  // parseArgs silently uses the last value of a repeated option.
  const names = tokens.flatMap((token) => (token.kind === 'option' ? [token.name] : []))
  const repeated = names.find((name, index) => names.indexOf(name) !== index)
  if (repeated !== undefined) throw new UsageError(`--${repeated} is given more than once`)
  return { values, operands: positionals }
}

function parse<Options extends NonNullable<ParseArgsConfig['options']>>(args: string[], options: Options) {
  try {
    return parseArgs({ args, options, strict: true, allowPositionals: true, tokens: true })
  } catch (error) {
    if (!(error instanceof Error)) throw error
    // A second sentence describes how to pass an operand that starts with a hyphen, which no command has.
    const [sentence = ''] = error.message.split('. ')
    throw new UsageError(truncate(escapeLine(sentence)))
  }
}

/** The messages of parseArgs contain the argument. */
function truncate(message: string): string {
  return message.length > maxMessageLength ? `${message.slice(0, maxMessageLength - 1)}…` : message
}

const maxMessageLength = 200
