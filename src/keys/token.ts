import { randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/**
 * `kener_<16 base62 id>_<43 base62 secret><6 base62 checksum>`. The secret has 256 random bits. The checksum is the
 * CRC-32 of everything before it, so that typos are rejected without a lookup, and secret scanners can verify a match.
 */
const tokenPattern = /^(kener_([0-9A-Za-z]{16})_([0-9A-Za-z]{43}))([0-9A-Za-z]{6})$/

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

export type TokenParts = {
  /** The id of the key. Not secret. */
  id: string
  /** Only its hash is stored. */
  secret: string
}

export function generateTokenParts(id = generateKeyId()): TokenParts {
  return { id, secret: generateSecret() }
}

/** Generates 256 random bits. */
export function generateSecret(): string {
  return randomBase62(43)
}

export function generateKeyId(): string {
  return randomBase62(16)
}

export function isKeyId(text: string): boolean {
  return /^[0-9A-Za-z]{16}$/.test(text)
}

export function formatToken({ id, secret }: TokenParts): string {
  const body = `kener_${id}_${secret}`
  return body + checksum(body)
}

/** Returns undefined if the format or the checksum is wrong. */
export function parseToken(token: string): TokenParts | undefined {
  const [, body, id, secret, sum] = tokenPattern.exec(token) ?? []
  if (body === undefined || id === undefined || secret === undefined) return undefined
  return checksum(body) === sum ? { id, secret } : undefined
}

function checksum(body: string): string {
  let remainder = crc32(body)
  let text = ''
  for (let digit = 0; digit < 6; digit++) {
    text = base62.charAt(remainder % 62) + text
    remainder = Math.floor(remainder / 62)
  }
  return text
}

function randomBase62(length: number): string {
  return Array.from({ length }, () => base62.charAt(randomInt(62))).join('')
}
