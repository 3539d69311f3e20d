import t from 'tap'
import { formatToken, generateTokenParts, parseToken } from '../src/keys/token.ts'

const shape = /^kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}[0-9A-Za-z]{6}$/

await t.test('a generated token has the documented format, and is parsed to its parts', async (t) => {
  for (let round = 0; round < 1_000; round++) {
    const key = generateTokenParts()
    const text = formatToken(key)
    t.match(text, shape)
    t.same(parseToken(text), key)
  }
})

await t.test('generated ids and secrets are unique', async (t) => {
  const keys = Array.from({ length: 1_000 }, generateTokenParts)
  t.equal(new Set(keys.map(({ id }) => id)).size, 1_000)
  t.equal(new Set(keys.map(({ secret }) => secret)).size, 1_000)
})

await t.test('the checksum is the CRC-32 of everything before it, in base62', async (t) => {
  // Computed with Python's zlib: CRC-32 2391165567.
  const zeros = `kener_${'0'.repeat(16)}_${'0'.repeat(43)}`
  const text = formatToken({ id: '0'.repeat(16), secret: '0'.repeat(43) })
  t.equal(text.slice(0, -6), zeros)
  t.equal(text.slice(-6), '2bp5OZ')
})

await t.test('a token with one wrong character is rejected', async (t) => {
  const text = formatToken(generateTokenParts())
  for (let place = 0; place < text.length; place++) {
    for (const wrong of ['0', 'a', '_', ' ', 'é']) {
      const mistyped = text.slice(0, place) + wrong + text.slice(place + 1)
      if (mistyped !== text) t.equal(parseToken(mistyped), undefined, mistyped)
    }
  }
})

await t.test('a token with two swapped neighbouring characters is rejected', async (t) => {
  const text = formatToken(generateTokenParts())
  for (let place = 0; place < text.length - 1; place++) {
    const [a = '', b = ''] = [text[place], text[place + 1]]
    const swapped = text.slice(0, place) + b + a + text.slice(place + 2)
    if (swapped !== text) t.equal(parseToken(swapped), undefined, swapped)
  }
})

await t.test('a text that only resembles a token is rejected', async (t) => {
  const text = formatToken(generateTokenParts())
  for (const wrong of [
    '',
    'kener_',
    text.toUpperCase(),
    `${text}0`,
    text.slice(1),
    ` ${text}`,
    `${text}\n`,
  ]) {
    t.equal(parseToken(wrong), undefined, JSON.stringify(wrong))
  }
})
