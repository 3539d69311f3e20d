import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

/**
 * Copies the files that browsers load into dist, and the Markdown files of /docs. Those that pages load get names that
 * contain a hash of their content, so that browsers cache them without revalidation. They are compressed here, so that the
 * server only reads them from disk.
 */
const root = join(import.meta.dirname, '..')
const swaggerUi = join(root, 'node_modules/@fastify/swagger-ui/static')
const docs = join(root, 'src/docs')
const output = join(root, 'dist/src/docs')

cpSync(join(root, 'src/manage/assets'), join(root, 'dist/src/manage/assets'), { recursive: true })

const pageAssets = join(root, 'src/public/assets')
const pageOutput = join(root, 'dist/src/public/assets')

for (const folder of [output, pageOutput]) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
}

for (const file of readdirSync(pageAssets)) {
  const content = readFileSync(join(pageAssets, file))
  write(pageOutput, hashedName(file, content), content)
}

let page = readFileSync(join(docs, 'index.html'), 'utf8')
for (const file of [
  join(swaggerUi, 'swagger-ui-bundle.js'),
  join(swaggerUi, 'swagger-ui.css'),
  join(docs, 'docs.js'),
  join(docs, 'docs.css'),
]) {
  const content = readFileSync(file)
  const name = hashedName(file, content)
  page = page.replace(`/docs/${basename(file)}`, `/docs/${name}`)
  write(output, name, content)
}
write(output, 'index.html', Buffer.from(page))

// The pages that /llms.txt lists are served as Markdown.
const list = readFileSync(join(docs, 'llms.txt'), 'utf8')
writeFileSync(join(output, 'llms.txt'), list)
for (const [, name] of list.matchAll(/\(\/docs\/([^)]+)\)/g)) {
  write(output, name, Buffer.from(withoutBrokenLinks(readFileSync(join(root, 'docs', name), 'utf8'))))
}

/** Replaces links to files that the service does not have by their text. */
function withoutBrokenLinks(markdown) {
  const link = /!?\[([^\]]*)\]\(([^)#]*)(#[^)]*)?\)/g
  return markdown.replace(link, (all, text, target) =>
    target === '' || /^https?:/.test(target) || list.includes(`(/docs/${target})`) ? all : text,
  )
}

function hashedName(file, content) {
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 16)
  return `${basename(file, extname(file))}.${hash}${extname(file)}`
}

/** Quality 9: 11 makes the bundle 9 % smaller and takes 2.5 s instead of 0.1. */
function write(folder, name, content) {
  writeFileSync(join(folder, name), content)
  writeFileSync(join(folder, `${name}.gz`), gzipSync(content, { level: 9 }))
  writeFileSync(
    join(folder, `${name}.br`),
    brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }),
  )
}
