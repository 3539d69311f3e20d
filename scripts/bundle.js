import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { formatNotices } from './notices.js'

/**
 * Bundles the programs and worker threads with their packages, because Node takes longer to find and link 1,300 modules
 * than for everything else at the start, and so that an installation needs ten packages instead of 150. The folder is as
 * deep as the other folders of dist/src, so that `join(import.meta.dirname, '../folder/file')` names the same file in the
 * bundle as in the output of tsc.
 */
const root = join(import.meta.dirname, '..')
const outdir = join(root, 'dist/src/bundle')

rmSync(outdir, { recursive: true, force: true })
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: [
    'src/server.ts',
    'src/cli.ts',
    'src/database/create-embedded.ts',
    'src/maintenances/recurrence-worker.ts',
  ],
  // All entries in one folder, not in those of their sources.
  entryNames: '[name]',
  outdir,
  bundle: true,
  // Keeps dynamic imports lazy: each becomes a chunk of its own, which is not read at the start.
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // The ES modules of packages that also have CommonJS, because only what is used of them is included: a fifth of
  // OpenTelemetry.
  mainFields: ['module', 'main'],
  // The dependencies of package.json: native, WebAssembly, or (cookie) CommonJS that is imported dynamically. pg-native, and
  // supports-color, which debug uses, are optional, and not installed.
  external: [
    '@node-rs/argon2',
    '@electric-sql/pglite',
    'fs-native-extensions',
    'pg-native',
    'supports-color',
    'cookie',
  ],
  metafile: true,
  // CommonJS packages load the modules of Node by `require`, which ES modules do not have.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'\nconst require = requireOf(import.meta.url)",
  },
  logLevel: 'warning',
})

for (const [importer, { imports }] of Object.entries(metafile.inputs)) {
  for (const { kind, path } of imports) {
    if (kind !== 'dynamic-import' || metafile.inputs[path]?.format !== 'cjs') continue
    throw new Error(
      `${importer} imports ${path} dynamically, whose named exports a bundle lacks: make it external`,
    )
  }
}

writeFileSync(join(outdir, 'third-party-notices.txt'), formatNotices(root, Object.keys(metafile.inputs)))
