import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { migrations } from '../../migrations/index.ts'
import { compareSchema, migrate } from '../../src/database/migrate.ts'
import { createKysely, openPool } from '../../src/database/pool.ts'
import { waitUntil } from '../helper.ts'
import { startPostgres } from '../postgres.ts'
import { listening, programs, start, temporaryDirectory } from '../process.ts'
import { checkByApi, createLedger, createMonitor, type Service, startLoad, wide } from './load.ts'

/**
 * Upgrades from the release of an earlier commit to this one. By default from the one before the newest migration;
 * UPGRADE_FROM names another revision. From the one before each migration:
 *
 *     for commit in $(git log --diff-filter=A --format=%h -- migrations); do
 *       UPGRADE_FROM=$commit^ node dist/test/run.js upgrade
 *     done
 */
const root = join(programs, '../../..')

function git(...args: string[]): Buffer {
  return execFileSync('git', args, { cwd: root, stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 2 ** 30 })
}

/** Returns undefined if the history does not contain it, as in a shallow clone or an archive. */
function findRevision(): string | undefined {
  try {
    const newest = git('log', '-1', '--diff-filter=A', '--format=%H', '--', 'migrations').toString().trim()
    return git('rev-parse', '--verify', process.env.UPGRADE_FROM ?? `${newest}^`)
      .toString()
      .trim()
  } catch {
    return undefined
  }
}

const revision = findRevision()
if (revision === undefined && process.env.UPGRADE_FROM) throw new Error('UPGRADE_FROM is not a revision')
const skip = revision === undefined && 'The history does not contain the previous release'

/** Builds a revision. @returns the directory of its programs */
function build(t: Test, revision: string): string {
  const directory = temporaryDirectory(t)
  execFileSync('tar', ['-x', '-C', directory], { input: git('archive', revision) })
  const lock = 'package-lock.json'
  if (readFileSync(join(directory, lock), 'utf8') === readFileSync(join(root, lock), 'utf8')) {
    symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  } else {
    execFileSync('npm', ['ci', '--ignore-scripts', '--silent'], { cwd: directory })
  }
  if (!existsSync(join(directory, 'scripts/bundle.js'))) {
    execFileSync('npm', ['run', 'build'], { cwd: directory, stdio: 'ignore' })
    return join(directory, 'dist/src')
  }
  for (const script of ['build-assets.js', 'bundle.js']) {
    execFileSync(process.execPath, [join('scripts', script)], { cwd: directory, stdio: 'ignore' })
  }
  return join(directory, 'dist/src/bundle')
}

/** Creates a key with the previous release, which migrates the database. */
async function createKey(t: Test, url: string, previous: string): Promise<string> {
  const args = ['keys', 'create', '--name', 'ops', '--permissions', 'admin']
  const { output, ended } = start(t, 'cli', args, { DATABASE_URL: url }, previous)
  const { code } = await ended
  if (code !== 0) throw new Error(output.stderr)
  return output.stdout.trim()
}

/** Starts a replica, and load on it with a monitor of its own. */
async function startReplica(t: Test, { url, key, name, directory }: Release & { name: string }) {
  const environment = { DATABASE_URL: url, PORT: '0', DATABASE_POOL_MAX: '5', ...wide }
  const server = start(t, 'server', [], environment, directory)
  const service: Service = { server, origin: await listening(server), key }
  const ledger = { ...createLedger(), monitor: name }
  await createMonitor(service, ledger)
  return { service, ledger, load: startLoad(t, service, ledger, { clients: 5 }) }
}

type Release = { url: string; key: string; directory: string }

/** A migration of this test, because few contain indexes: the load writes these tables. */
const indexes = '2999-01-01-indexes'
const all = {
  ...migrations,
  [indexes]: {
    indexes: {
      upgrade_hours: 'monitor_hours (hour)',
      upgrade_incidents: 'incidents (title)',
      upgrade_keys: 'api_keys (name)',
    },
  },
}

/**
 * Connects as a dump does, until `end`: with locks on all tables, which conflict with those of most migrations, and with a
 * snapshot, for whose end the build of an index waits.
 */
async function holdTransaction(url: string) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ tables: string }>(`
    select string_agg(quote_ident(tablename), ', ') as tables from pg_tables
    where schemaname = 'public' and tablename <> 'kener_api_migrations'`)
  await client.query(`
    begin isolation level repeatable read; lock table ${String(rows[0]?.tables)} in access share mode; select`)
  return { end: () => client.end() }
}

await t.test(
  'both releases serve while each migration waits, and afterwards beside each other',
  { skip },
  async (t) => {
    const directory = build(t, String(revision))
    const postgres = await startPostgres()
    t.teardown(postgres.stop)
    const { url } = postgres
    const key = await createKey(t, url, directory)
    const old = await Promise.all(
      ['old-one', 'old-two'].map((name) => startReplica(t, { url, key, directory, name })),
    )
    const loads = old.map(({ load }) => load)
    const untilServed = () => Promise.all(loads.map((load) => load.untilServed()))
    await untilServed()

    const pool = openPool({ connectionString: url, max: 1 }, {})
    t.teardown(() => pool.end())
    const db = createKysely(pool, {})
    const { missing } = await compareSchema(db, all)
    for (const name of missing) {
      const transaction = await holdTransaction(url)
      const state = { isWaiting: false, isApplied: false }
      const known = Object.fromEntries(Object.entries(all).filter(([other]) => other <= name))
      const onProgress = (text: string) => {
        state.isWaiting ||= text.includes('trying again') || text.includes(`${name} takes longer`)
      }
      const migrating = migrate(db, onProgress, known).finally(() => (state.isApplied = true))
      await waitUntil(() => state.isWaiting || state.isApplied)
      await untilServed()
      await transaction.end()
      t.same(await migrating, [name])
      await untilServed()
      if (name === indexes) t.ok(state.isWaiting, 'indexes wait for the long transaction')
      t.comment(`${name}: ${state.isWaiting ? 'waited for the long transaction' : 'did not wait'}`)
    }

    const fresh = await Promise.all(
      ['new-one', 'new-two'].map((name) => startReplica(t, { url, key, directory: programs, name })),
    )
    loads.push(...fresh.map(({ load }) => load))
    await untilServed()
    t.same(await compareSchema(db), { missing: [], newer: [indexes], incompatible: [] })

    await Promise.all(loads.map((load) => load.stop()))
    for (const { load } of [...old, ...fresh]) load.check(t)
    const [service] = fresh.map(({ service }) => service)
    for (const { ledger } of [...old, ...fresh]) await checkByApi(t, service as Service, ledger)
    t.comment(`from ${String(revision).slice(0, 7)}, over ${missing.length} migrations`)
  },
)
