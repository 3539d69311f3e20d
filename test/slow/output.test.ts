import { sql } from 'kysely'
import t from 'tap'
import { createDatabase, startReplica } from '../helper.ts'
import { npm, shell } from '../process.ts'

const env = { DATABASE_URL: await createDatabase(t) }
const { db } = await startReplica(t, { url: env.DATABASE_URL })
const create = 'cli keys create --name n --permissions admin'

/** Runs a script, which prints the exit code of the command at the end of stderr. */
async function run(script: string) {
  const { ended, output } = shell(t, `{ ${script}; }`, env)
  await ended
  const lines = output.stderr.trimEnd().split('\n')
  return { stdout: output.stdout, code: Number(lines.pop()), stderr: lines.join('\n') }
}

const activeKeys = async () =>
  (await db.selectFrom('api_keys').select('id').where('revoked_at', 'is', null).execute()).length

await t.test('a key that cannot be printed is revoked, however stdout fails', async (t) => {
  for (const [script, reason] of [
    [`${create} > /dev/full; echo $? >&2`, 'ENOSPC'],
    [`${create} >&-; echo $? >&2`, 'it is closed'],
    // The pipe is closed when the process has connected to the database.
    [`{ ${create}; echo $? >&2; } | true`, 'EPIPE'],
  ] as const) {
    const { code, stderr } = await run(script)
    t.equal(code, 1, script)
    t.match(stderr, new RegExp(`^kener-api: The key could not be printed, so it was revoked: .*${reason}.*$`))
    t.equal(await activeKeys(), 0)
  }
  const { ended, output } = npm(t, ['run', '-s', 'cli', '--', 'keys', 'list'], env)
  t.equal((await ended).code, 0)
  t.match(output.stdout, /^(\S+ {2}revoked {2}[^\n]*\n){3}$/)
})

await t.test('other output that cannot be written is exit code 1 and at most one line', async (t) => {
  for (const command of ['cli keys list', 'cli --help', 'cli migrate']) {
    t.match(await run(`${command} > /dev/full; echo $? >&2`), {
      code: 1,
      stderr: /^kener-api: Cannot write to stdout: ENOSPC[^\n]*$/,
    })
  }
  for (const target of ['/dev/full', '&-']) {
    t.equal((await run(`cli nonsense 2>${target}; echo $? >&2`)).code, 2)
  }
})

await t.test('a long list is complete, and a reader that stops reading causes no message', async (t) => {
  await sql`
    insert into api_keys (id, secret_hash, name, permissions)
    select to_char(n, 'FM0000000000000000'), '', repeat('n', 100), '{admin}' from generate_series(1, 5000) n`.execute(
    db,
  )
  const whole = await run(`cli keys list | cat; echo $? >&2`)
  t.equal(whole.stdout.split('\n').length - 1, 5003)
  t.match(whole, { code: 0, stderr: '' })
  const stopped = await run(`{ cli keys list; echo $? >&2; } | head -1`)
  t.equal(stopped.stdout.split('\n').length - 1, 1)
  t.match(stopped, { code: 1, stderr: '' })
})
