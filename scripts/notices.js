import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Licences that only require a copy to contain their text. */
const allowed = new Set([
  'MIT',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'Apache-2.0',
  '0BSD',
  'BlueOak-1.0.0',
  'CC0-1.0',
])

/**
 * Returns the licences of the packages that the bundle and the pages contain.
 * @param {string} root
 * @param {string[]} files the bundled files, relative to the root
 * @throws if a package has no licence, or another one than those above
 */
export function formatNotices(root, files) {
  const folders = new Set(files.map((file) => packageFolder(root, file)))
  folders.delete(undefined)
  // Its files for browsers are copied by build-assets.js.
  folders.add(join(root, 'node_modules/@fastify/swagger-ui'))
  return [...folders]
    .sort()
    .map(formatNotice)
    .join(`\n${'-'.repeat(80)}\n\n`)
}

/** Returns the folder of the package that contains the file. Packages may contain a node_modules without manifests. */
function packageFolder(root, file) {
  const [folder] = /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file) ?? []
  if (folder === undefined) return undefined
  const path = join(root, folder)
  if (existsSync(join(path, 'package.json'))) return path
  return packageFolder(root, folder.slice(0, folder.lastIndexOf('/node_modules/')))
}

function formatNotice(folder) {
  const { name, version, license, author, homepage } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  )
  if (!license?.match(/[^() ]+/g).some((choice) => allowed.has(choice))) {
    throw new Error(`${name} is bundled, and its licence is not allowed: ${license}`)
  }
  const texts = readdirSync(folder)
    .filter((file) => /^(licen[cs]e|notice|copying)/i.test(file))
    .map((file) => readFileSync(join(folder, file), 'utf8').trim())
  const parts = texts.length > 0 ? texts : [author?.name ?? author, homepage].filter(Boolean)
  return `${[`${name} ${version} (${license})`, ...parts].join('\n\n')}\n`
}
