/** The environment of the measurements: a PostgreSQL server, its databases, a directory, and started processes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { freePort, startPostgres } from '../dist/test/postgres.js'
import { startContender, startKener, stopLoads } from './processes.js'

/** Uses the PostgreSQL at `databaseUrl`, whose user must be able to create databases, or starts one with fsync on. */
export async function openPlace(databaseUrl) {
  const server = databaseUrl
    ? { url: databaseUrl, stop: async () => {} }
    : await startPostgres(['fsync=on', 'max_wal_size=4GB', 'shared_preload_libraries=pg_stat_statements'])
  // Not a pool, whose end() returns before its connections are closed: stopping the server then causes an uncaught error.
  const admin = new pg.Client({ connectionString: server.url })
  await admin.connect()
  const directory = mkdtempSync(join(tmpdir(), 'kener-bench-'))
  const databases = []
  const running = []
  // The extension can be created, but not read, on a server that does not preload its library.
  const countsStatements = await admin
    .query('create extension if not exists pg_stat_statements; select from pg_stat_statements limit 1')
    .then(
      () => true,
      () => false,
    )

  async function track(starting) {
    const started = await starting
    running.push(started)
    return started
  }

  return {
    directory,
    newDatabase: async () => {
      const name = `kener_bench_${process.pid}_${databases.length}`
      databases.push(name)
      await admin.query(`create database ${name}`)
      const url = new URL(server.url)
      url.pathname = name
      return url.href
    },
    startContender: (name, url) => track(startContender(name, url)),
    startKener: async (env, execArgv) =>
      track(startKener({ ...env, PORT: String(await freePort()) }, execArgv)),
    /** Number of statements since the server started; undefined without pg_stat_statements. */
    statements: async () => {
      if (!countsStatements) return undefined
      const { rows } = await admin.query('select sum(calls)::float8 as calls from pg_stat_statements')
      return rows[0].calls
    },
    postgresVersion: async () => (await admin.query('show server_version')).rows[0].server_version,
    close: async () => {
      stopLoads()
      await Promise.all(running.map(({ stop }) => stop()))
      for (const name of databases) await admin.query(`drop database if exists ${name} with (force)`)
      await admin.end()
      await server.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
