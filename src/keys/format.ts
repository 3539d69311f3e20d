import { randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/**
 * `kener_<16 base62 id>_<43 base62 secret><6 base62 checksum>`.
 * 43 characters of base62 carry 256 bits. The checksum is the CRC-32 of all before it, so that a mistyped key is
 * refused without a look-up, and a scanner for leaked secrets knows a key from any other text.
 */
const shape = /^(kener_([0-9A-Za-z]{16})_([0-9A-Za-z]{43}))([0-9A-Za-z]{6})$/

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

export type Key = {
  /** Public: the name under which the key is looked up. */
  id: string
  /** What the caller must know; only its hash is stored. */
  secret: string
}

export function generateKey(id = generateKeyId()): Key {
  return { id, secret: randomBase62(43) }
}

export function generateKeyId(): string {
  return randomBase62(16)
}

export function isKeyId(text: string): boolean {
  return /^[0-9A-Za-z]{16}$/.test(text)
}

export function formatKey({ id, secret }: Key): string {
  const body = `kener_${id}_${secret}`
  return body + checksum(body)
}

/** Undefined when the text has not the shape of a key, or its checksum is wrong. Touches nothing but the text. */
export function parseKey(text: string): Key | undefined {
  const [, body, id, secret, sum] = shape.exec(text) ?? []
  if (body === undefined || id === undefined || secret === undefined) return undefined
  return checksum(body) === sum ? { id, secret } : undefined
}

function checksum(body: string): string {
  let rest = crc32(body)
  let text = ''
  for (let place = 0; place < 6; place++) {
    text = base62.charAt(rest % 62) + text
    rest = Math.floor(rest / 62)
  }
  return text
}

function randomBase62(length: number): string {
  return Array.from({ length }, () => base62.charAt(randomInt(62))).join('')
}
