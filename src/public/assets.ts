import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Written by scripts/build-assets.js: names contain a hash of the content, and each file is also there as .br and .gz. */
export const assetsFolder = join(import.meta.dirname, '../public/assets')

const files = readdirSync(assetsFolder)

/** Returns the path of an asset, which changes with its content. */
export function assetPath(name: 'icon.svg' | 'status.css' | 'status.js'): string {
  const [base = '', extension = ''] = name.split('.')
  const file = files.find((file) => file.startsWith(`${base}.`) && file.endsWith(`.${extension}`))
  if (file === undefined) throw new Error(`${name} was not built`)
  return `/assets/${file}`
}
