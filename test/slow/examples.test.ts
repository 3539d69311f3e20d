import { execFile, spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { once } from 'node:events'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parse } from 'tap-yaml'
import { newKey, type Replica, startReplica, waitUntil } from '../helper.ts'
import { freePort } from '../postgres.ts'
import { temporaryDirectory } from '../process.ts'

const examples = join(import.meta.dirname, '../../../examples')
const run = promisify(execFile)

async function prepare(t: Test) {
  const replica = await startReplica(t)
  const url = await replica.app.listen({ port: 0, host: '127.0.0.1' })
  const { token } = await newKey(replica)
  return { replica, token, url, env: { PATH: process.env.PATH, KENER_URL: url, KENER_API_KEY: token } }
}

async function readMonitor({ call }: Replica, token: string, tag: string) {
  return (await call(token, `GET /api/monitors/${tag}`)).json?.data
}

/** True if the program can be started. */
function isInstalled(t: Test, program: string): boolean {
  const isMissing = spawnSync(program, ['--version']).error !== undefined
  if (isMissing) t.comment(`${program} is not installed`)
  return !isMissing
}

await t.test('the shell function reports a status, and returns 1 with the error if that fails', async (t) => {
  const { replica, token, env } = await prepare(t)
  await replica.call(token, 'PUT /api/monitors/website', { name: 'Website' })
  const script = `. ${examples}/report/kener-report.sh; kener_report "$@"`
  for (const shell of ['sh', 'bash']) {
    await run(shell, ['-euc', script, 'sh', 'website', 'DEGRADED', '12'], { env })
    const { last_report } = await readMonitor(replica, token, 'website')
    t.match(last_report, { status: 'DEGRADED', latency_ms: 12 })
    await run(shell, ['-euc', script, 'sh', 'website', 'UP'], { env })
    t.match(await readMonitor(replica, token, 'website'), { status: 'UP', last_report: { latency_ms: null } })
    const failed = run(shell, ['-euc', script, 'sh', 'website', 'BAD'], { env })
    await t.rejects(failed, { code: 1, stderr: /INVALID_REQUEST[^]*400/ })
  }
})

await t.test('the shell function repeats a report after Retry-After and after a lost response', async (t) => {
  const { env } = await prepare(t)
  const bodies: string[] = []
  const server = createServer((request, response) => {
    request.setEncoding('utf8').once('data', (body: string) => {
      bodies.push(body)
      if (bodies.length === 1) response.writeHead(429, { 'retry-after': '1' }).end('{}')
      else if (bodies.length === 2) request.socket.resetAndDestroy()
      else response.end('{}')
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const script = `. ${examples}/report/kener-report.sh; kener_report website UP`
  await run('sh', ['-euc', script], { env: { ...env, KENER_URL: `http://127.0.0.1:${port}` } })
  t.equal(bodies.length, 3)
  t.equal(new Set(bodies).size, 1, 'the same timestamp')
})

await t.test('the GitHub Action reports the status of the job', async (t) => {
  const { replica, token, env } = await prepare(t)
  await replica.call(token, 'PUT /api/monitors/deploy', { name: 'Deploy' })
  const action = parse(readFileSync(join(examples, 'report/action.yml'), 'utf8')) as {
    inputs: Record<string, object>
    runs: { steps: [{ run: string; env: Record<string, string> }] }
  }
  const [step] = action.runs.steps
  for (const [status, reported] of [
    ['success', 'UP'],
    ['failure', 'DOWN'],
    ['cancelled', 'DOWN'],
    ['DEGRADED', 'DEGRADED'],
  ] as const) {
    const inputs = { url: env.KENER_URL, 'api-key': token, monitor: 'deploy', status, 'latency-ms': '' }
    t.same(Object.keys(action.inputs), Object.keys(inputs))
    const stepEnv = Object.fromEntries(
      Object.entries(step.env).map(([name, value]) => [
        name,
        value.replace(/^\$\{\{ inputs\.(\S+) \}\}$/, (_, input: string) => inputs[input as 'url']),
      ]),
    )
    const more = { PATH: process.env.PATH, GITHUB_ACTION_PATH: join(examples, 'report') }
    // As GitHub runs a step with `shell: bash`.
    await run('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', step.run], {
      env: { ...stepEnv, ...more },
    })
    t.equal((await readMonitor(replica, token, 'deploy')).status, reported, status)
  }
})

await t.test(
  'Alertmanager sets a monitor to DOWN while an alert fires, and reports that Prometheus is UP',
  async (t) => {
    const program = 'prometheus-alertmanager'
    if (!isInstalled(t, program)) return
    const { replica, token } = await prepare(t)
    const origin = replica.app.listeningOrigin
    const urls: Record<string, string> = {}
    for (const [tag, attributes] of Object.entries({
      website: { default_status: 'UP', stale_after_seconds: 3 },
      prometheus: { default_status: 'DOWN', stale_after_seconds: 3 },
    })) {
      await replica.call(token, `PUT /api/monitors/${tag}`, { name: tag, ...attributes })
      const { json } = await replica.call(token, `POST /api/monitors/${tag}/heartbeat`)
      urls[tag] = origin + new URL(String(json.data.url)).pathname
    }
    const example = readFileSync(join(examples, 'alertmanager/alertmanager.yml'), 'utf8')
    const directory = temporaryDirectory(t)
    const config = example
      .replace(
        /https:\/\/status\.example\.com\/ext\/heartbeat\/(\w+)\/SECRET/g,
        (_, tag: string) => urls[tag] ?? '',
      )
      .replaceAll(/(group_wait|group_interval|repeat_interval): \w+/g, '$1: 1s')
    writeFileSync(join(directory, 'alertmanager.yml'), config)
    const alerts = `http://127.0.0.1:${await freePort()}`
    const alertmanager = spawn(
      program,
      [
        '--config.file=alertmanager.yml',
        '--cluster.listen-address=',
        `--web.listen-address=${new URL(alerts).host}`,
      ],
      { cwd: directory, stdio: 'ignore' },
    )
    t.teardown(() => alertmanager.kill('SIGKILL'))
    await waitUntil(() =>
      fetch(`${alerts}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      ),
    )
    const send = async (labels: Record<string, string>, endsAt?: string) => {
      const body = JSON.stringify([{ labels, ...(endsAt && { endsAt }) }])
      const headers = { 'content-type': 'application/json' }
      t.ok((await fetch(`${alerts}/api/v2/alerts`, { method: 'POST', headers, body })).ok)
    }
    const becomes = (tag: string, status: string) =>
      waitUntil(async () => (await readMonitor(replica, token, tag)).status === status)
    await becomes('website', 'UP')
    await send({ alertname: 'Slow', service: 'website' })
    await send({ alertname: 'Watchdog' })
    await becomes('website', 'DOWN')
    await becomes('prometheus', 'UP')
    await send({ alertname: 'Slow', service: 'website' }, new Date().toISOString())
    await becomes('website', 'UP')
    await becomes('prometheus', 'UP')
  },
)

await t.test('the Terraform example creates, updates and deletes monitors', async (t) => {
  if (!isInstalled(t, 'terraform')) return
  const { replica, token, url, env } = await prepare(t)
  const directory = join(temporaryDirectory(t), 'terraform')
  mkdirSync(directory)
  cpSync(join(examples, 'terraform/main.tf'), join(directory, 'main.tf'))
  const terraform = (...args: string[]) =>
    run('terraform', [...args, '-no-color'], { cwd: directory, env: { ...env, CHECKPOINT_DISABLE: '1' } })
  const apply = async (monitors: object) => {
    writeFileSync(join(directory, 'terraform.tfvars.json'), JSON.stringify({ kener_url: url, monitors }))
    return await terraform('apply', '-auto-approve')
  }
  await terraform('init')
  // Other fields than those of the first monitor.
  const shop = { name: 'Checkout', hidden: true }
  await apply({ website: { name: 'Website', stale_after_seconds: 60 }, shop })
  t.match(await readMonitor(replica, token, 'shop'), shop)
  const created = await readMonitor(replica, token, 'website')
  t.match(created, { name: 'Website', stale_after_seconds: 60 })
  await replica.call(token, 'POST /api/monitors/website/data', { status: 'UP' })
  await apply({ website: { name: 'Portal', stale_after_seconds: 60 }, shop })
  t.match(await readMonitor(replica, token, 'website'), {
    name: 'Portal',
    created_at: created.created_at,
    last_report: { status: 'UP' },
  })
  t.match(
    (await apply({ website: { name: 'Portal', stale_after_seconds: 60 }, shop })).stdout,
    /0 added, 0 changed, 0 destroyed/,
  )
  await apply({})
  t.equal((await replica.call(token, 'GET /api/monitors/website')).statusCode, 404)
  t.notMatch(readFileSync(join(directory, 'terraform.tfstate'), 'utf8'), token)
})
