import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const project = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(project, path), 'utf8')

await t.test('every test that SECURITY.md cites exists', async (t) => {
  const text = read('SECURITY.md')
  const cited = [...text.matchAll(/`([a-z0-9/-]+\.test\.ts)` "([^"]+)"/g)]
  t.ok(cited.length > 60, `${cited.length} citations`)
  t.equal(text.match(/\.test\.ts/g)?.length, cited.length, 'each with the name of a test')
  for (const [, file = '', name = ''] of cited) {
    t.ok(existsSync(join(project, 'test', file)), file)
    t.ok(namesOf(read(`test/${file}`)).includes(name), `${file}: ${name}`)
  }
})

function namesOf(source: string): string[] {
  return [...source.matchAll(/\bt\.test\(\s*'([^']+)'/g)].map(([, name = '']) => name)
}
