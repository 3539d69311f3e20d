import { existsSync } from 'node:fs'
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'
import { conditionTimeoutMs } from './timeouts.ts'

/** Paths on Debian and Ubuntu, Fedora, Arch and macOS. */
const browsers = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]
const executablePath = process.env.CHROMIUM ?? browsers.find((path) => existsSync(path))

const isMissing = executablePath === undefined
if (isMissing && process.env.CI !== undefined)
  throw new Error('Chromium is required in CI: install it, or set CHROMIUM to its path')

/** Why tests in a browser are skipped, or false. */
export const skip = isMissing && 'Chromium was not found: install it, or set CHROMIUM to its path'

/** Files that run in the same process start it one after the other. */
let browser: Browser | undefined

/** Ends the browser, so that it does not keep the process running. Call it at the end of each file. */
export async function closeBrowser(): Promise<void> {
  await browser?.close()
}

function launch(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** Opens a tab with a context of its own. The test fails if a script fails, or violates the Content-Security-Policy. */
export async function openPage(t: Test, options: BrowserContextOptions): Promise<Page> {
  if (executablePath === undefined) throw new Error('This test needs a browser')
  if (!browser?.isConnected()) browser = await launch(executablePath)
  const context = await browser.newContext(options)
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(conditionTimeoutMs)
  // A violation of the Content-Security-Policy is only reported on the console.
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) t.fail(message.text())
  })
  page.on('pageerror', (error) => {
    t.error(error)
  })
  return page
}

export async function assertAccessible(t: Test, page: Page, name: string): Promise<void> {
  await page.evaluate(axe.source)
  const violations = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run: () => Promise<{ violations: object[] }> } }
    return (await axe.run()).violations
  })
  t.same(violations, [], name)
}

export async function assertFits(t: Test, page: Page, name: string): Promise<void> {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  t.ok(excess <= 0, `${name}: ${excess} px too wide`)
}

/**
 * Returns a function that checks a page of the panel: it fits the viewport, controls are high enough to be touched on a
 * phone, and axe finds no violation.
 */
export function checkWith(t: Test, page: Page, javaScriptEnabled: boolean, how: string) {
  return async (name: string) => {
    await page.locator('main').waitFor()
    await assertFits(t, page, `${name}, ${how}`)
    if (page.viewportSize()?.width === 360) {
      const heights = await page
        .locator(
          'nav[aria-label=Main] a, main button:visible, main .button, main .actions a, main select:visible',
        )
        .evaluateAll((elements) =>
          elements
            .filter((element) => element.tabIndex >= 0 && element.checkVisibility())
            .map((element) => Math.round(element.getBoundingClientRect().height)),
        )
      t.ok(Math.min(...heights) >= 44, `${name}: the lowest control is ${Math.min(...heights)} px high`)
    }
    if (javaScriptEnabled) await assertAccessible(t, page, `${name}, ${how}`)
  }
}
