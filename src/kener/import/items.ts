import type { TSchema } from 'typebox'
import { isNestedTooDeeply, maxDepth } from '../../limits.ts'
import { escapeLine } from '../../terminal.ts'
import { fromAjvErrors } from '../../wire/ajv-errors.ts'
import { compileJson } from '../../wire/validator.ts'
import { type Notice, notice } from './progress.ts'

export type SourceItem = { id: number } & Record<string, unknown>

/** A valid item. It is parsed again when it is used, because parsed JSON takes ten times the memory of its text. */
export type ListedItem<Item extends SourceItem> = { id: number; read: () => Item }

export type ItemList<Item extends SourceItem> = {
  /** Sorted by id. */
  items: ListedItem<Item>[]
  rejected: RejectedItem[]
  /** Number of further items, which were not read. */
  omitted: number
}

/** `name` is the beginning of the item's text. */
type RejectedItem = { name: string; reason: Notice }

/** Largest item, in bytes. Items of Kener have a few kilobytes. */
const maxItemBytes = 1024 * 1024

/**
 * Reads the list `{"name": [item, ...]}` without parsing it as a whole, so that an invalid item does not affect the
 * others, and the memory needed does not depend on what the list contains.
 * @param schema of an item
 * @returns undefined if the text is not an object with such a list
 */
export function readList<Item extends SourceItem>(
  json: Buffer,
  name: string,
  schema: TSchema,
  maxItems: number,
): ItemList<Item> | undefined {
  const split = splitList(json, name, maxItems)
  if (!split) return undefined
  const validate = compileJson(schema)
  const items = new Map<number, ListedItem<Item>>()
  const rejected: RejectedItem[] = []
  for (const text of split.texts) {
    const parsed = parseItem(text, validate)
    const reason =
      'id' in parsed && items.has(parsed.id) ? notice`its id occurs more than once in the list` : parsed
    if ('id' in reason) items.set(reason.id, { id: reason.id, read: () => parse(text) as Item })
    else rejected.push({ name: escapeLine(text.subarray(0, 60).toString()), reason })
  }
  return {
    items: [...items.values()].sort((a, b) => a.id - b.id),
    rejected,
    omitted: split.total - split.texts.length,
  }
}

/** Returns the item's id, or the reason why the item is not valid. */
function parseItem(text: Buffer, validate: ReturnType<typeof compileJson>): { id: number } | Notice {
  if (text.length > maxItemBytes)
    return notice`it has ${text.length} bytes, and at most ${maxItemBytes} are read`
  let item: unknown
  try {
    item = parse(text)
  } catch {
    return notice`it is not valid JSON`
  }
  const outcome = validate(item)
  if ('error' in outcome) {
    const [detail] = fromAjvErrors(outcome.error).details ?? []
    const text = `${detail?.path || 'it'} ${detail?.message ?? 'is invalid'}`
    return { kind: text, text }
  }
  if (isNestedTooDeeply(item)) return notice`it is nested more than ${maxDepth} levels deep`
  return item as SourceItem
}

function parse(text: Buffer): unknown {
  return JSON.parse(text.toString())
}

/**
 * Finds the texts of the items in a JSON text. Does not verify that the text is valid, except that it is an object in
 * which every bracket is closed.
 */
function splitList(
  json: Buffer,
  name: string,
  maxItems: number,
): { texts: Buffer[]; total: number } | undefined {
  const listKey = Buffer.from(JSON.stringify(name))
  const texts: Buffer[] = []
  let total = 0
  let depth = 0
  let isFound = false
  /** True within the list, which is a value of the object. */
  let isInList = false
  let itemStart = -1
  /** The latest string in the object: the name of the value that follows. */
  let key: Buffer | undefined

  const endItem = (end: number) => {
    if (itemStart === -1) return
    if (total++ < maxItems) texts.push(json.subarray(itemStart, end))
    itemStart = -1
  }
  for (let at = 0; at < json.length; at++) {
    const byte = json[at]
    if (byte === space || byte === lineFeed || byte === carriageReturn || byte === tab) continue
    if (depth === 0 && (isFound || byte !== openBrace)) return undefined
    const isItemLevel = isInList && depth === 2
    if (isItemLevel && (byte === comma || byte === closeBracket)) endItem(at)
    else if (isItemLevel && itemStart === -1) itemStart = at
    if (byte === quoteMark) {
      const start = at
      at = findStringEnd(json, at)
      if (at === -1) return undefined
      if (depth === 1) key = json.subarray(start, at + 1)
    } else if (byte === openBrace || byte === openBracket) {
      isInList ||= depth === 1 && byte === openBracket && (key?.equals(listKey) ?? false)
      depth++
    } else if (byte === closeBrace || byte === closeBracket) {
      depth--
      if (depth === 1 && isInList) [isInList, isFound] = [false, true]
    }
  }
  return depth === 0 && isFound ? { texts, total } : undefined
}

/** Returns the index of the quotation mark that ends a string, or -1. */
function findStringEnd(json: Buffer, start: number): number {
  for (let end = json.indexOf(quoteMark, start + 1); end !== -1; end = json.indexOf(quoteMark, end + 1)) {
    let backslashes = 0
    while (json[end - 1 - backslashes] === backslash) backslashes++
    if (backslashes % 2 === 0) return end
  }
  return -1
}

const [tab, lineFeed, carriageReturn, space] = [0x09, 0x0a, 0x0d, 0x20]
const [quoteMark, comma, backslash] = [0x22, 0x2c, 0x5c]
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d]
