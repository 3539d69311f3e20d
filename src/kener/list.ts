import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/** Items per statement. Each field of a monitor may have 64 KB. */
const pageLength = 50

/**
 * Reads a list in pages.
 * @param read returns at most `limit` items after `last`; without `last`, the first ones
 * @param max longest list
 */
export async function* readPages<Item>(
  read: (last: Item | undefined, limit: number) => Promise<Item[]>,
  max = Infinity,
): AsyncGenerator<Item[], void> {
  let last: Item | undefined
  for (let remaining = max; remaining > 0;) {
    const limit = Math.min(pageLength, remaining)
    const page = await read(last, limit)
    yield page
    if (page.length < limit) return
    last = page.at(-1)
    remaining -= page.length
  }
}

/**
 * Sends `{"field": [...]}` page by page, because Kener's lists have no limit, and a long one does not fit into memory.
 * The next page is read when the client has received the previous one.
 */
export async function sendList<Item>(
  reply: FastifyReply,
  field: string,
  pages: AsyncGenerator<Item[], void>,
  serialize: (item: Item) => object,
): Promise<FastifyReply> {
  // Reads the first page before the response starts, so that an unavailable database is reported as 503.
  const first = await pages.next()
  reply.type('application/json; charset=utf-8')
  return reply.send(Readable.from(toJson(field, first, pages, serialize)))
}

async function* toJson<Item>(
  field: string,
  first: IteratorResult<Item[], void>,
  pages: AsyncGenerator<Item[], void>,
  serialize: (item: Item) => object,
): AsyncGenerator<string> {
  const start = `{"${field}":[`
  let separator = start
  for (let page = first; !page.done; page = await pages.next()) {
    if (page.value.length === 0) continue
    yield separator + page.value.map((item) => JSON.stringify(serialize(item))).join(',')
    separator = ','
  }
  yield separator === start ? `${start}]}` : ']}'
}
