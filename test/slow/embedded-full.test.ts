import { spawnSync } from 'node:child_process'
import { statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { embeddedDatabase, listening, start, temporaryDirectory } from '../process.ts'
import { send, wide } from './load.ts'

const megabyte = 1024 * 1024

/** Mounts a small file system until the test ends. Returns undefined if this user or machine cannot. */
function mountSmallDisk(t: Test): string | undefined {
  const directory = temporaryDirectory(t)
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=80m', 'tmpfs', directory])
  if (status !== 0) return undefined
  t.teardown(() => spawnSync('umount', ['--lazy', directory]))
  return directory
}

const disk = mountSmallDisk(t)

await t.test('on a full disk, the process reports the failure and exits', { skip: !disk }, async (t) => {
  const DATA_DIR = await embeddedDatabase(t, join(disk ?? '', 'data'))
  const server = start(t, 'server', [], { DATA_DIR, PORT: '0', LOG_LEVEL: 'fatal', ...wide })
  const [key] = await server.shows(/kener_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}/)
  const [origin] = await server.shows(/http:\/\/127\.0\.0\.1:\d+/)
  const service = { origin, key }
  const day = { from: '2025-12-01T00:00:00Z', to: '2025-12-15T00:00:00Z', latency_ms: 1 }
  t.equal((await send(service, 'PUT', '/monitors/m', { name: 'm' })).status, 201)

  // Leaves too little space for the next file of the WAL, which has 16 MB, and enough for the tables.
  const { bavail, bsize } = statfsSync(disk ?? '')
  writeFileSync(join(disk ?? '', 'fill'), Buffer.alloc(bavail * bsize - 8 * megabyte))
  for (let round = 0; server.child.exitCode === null; round++) {
    const status = round % 2 === 0 ? 'UP' : 'DOWN'
    await send(service, 'PUT', '/monitors/m/data', { ...day, status }).catch((error: unknown) => {
      // The process has exited meanwhile.
      if (!(error instanceof TypeError)) throw error
    })
  }
  t.same(await server.ended, { code: 1, signal: null })
  t.match(
    server.output.stdout,
    /"level":60,[^\n]*"The embedded database in [^\n]*No space left on device"\}\n$/,
  )

  const again = start(t, 'server', [], { DATA_DIR, PORT: '0' })
  t.equal((await again.ended).code, 1, 'a start on the full disk exits, too')
  t.match(again.output.stderr, /^kener-api: The embedded database in [^\n]*free space[^\n]*\n$/)

  writeFileSync(join(disk ?? '', 'fill'), '')
  const recovered = start(t, 'server', [], { DATA_DIR, PORT: '0', ...wide })
  const found = await send({ origin: await listening(recovered), key }, 'GET', '/monitors/m')
  t.equal(found.status, 200, 'nothing is lost')
})
