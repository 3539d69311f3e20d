import type { ComponentChildren } from 'preact'
import { renderToString } from 'preact-render-to-string'
import { assetPath } from './assets.ts'
import { IconShapes, Now } from './ui.tsx'

type Page = {
  siteName: string
  /** Time of the database at which the page was read. */
  now: Date
  title: string
  /** For search engines and previews of links. */
  description: string
  section?: 'status' | 'incidents'
}

export function renderPage(page: Page, content: ComponentChildren): Buffer {
  const html = renderToString(
    <Now.Provider value={page.now}>
      <Document page={page}>{content}</Document>
    </Now.Provider>,
  )
  return Buffer.from(`<!doctype html>${html}`)
}

function Document({ page, children }: { page: Page; children: ComponentChildren }) {
  const { siteName, title, description, section } = page
  const current = (name: Page['section']) => (section === name ? 'page' : undefined)
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        <meta name="description" content={description} />
        <meta property="og:title" content={title} />
        <meta property="og:description" content={description} />
        <link rel="icon" href={assetPath('icon.svg')} type="image/svg+xml" />
        <link rel="stylesheet" href={assetPath('status.css')} />
        <link rel="alternate" href="/feed.atom" type="application/atom+xml" title={`${siteName} (Atom)`} />
        <link rel="alternate" href="/rss.xml" type="application/rss+xml" title={`${siteName} (RSS)`} />
        <link
          rel="alternate"
          href="/maintenances.ics"
          type="text/calendar"
          title={`${siteName} (maintenances)`}
        />
        <script src={assetPath('status.js')} defer />
      </head>
      <body>
        <a class="skip" href="#main">
          Skip to content
        </a>
        <IconShapes />
        <header class="top">
          <a class="brand" href="/">
            {siteName}
          </a>
          <nav aria-label="Main">
            <a href="/" aria-current={current('status')}>
              Status
            </a>
            <a href="/incidents" aria-current={current('incidents')}>
              Incidents
            </a>
          </nav>
        </header>
        <main id="main" tabIndex={-1}>
          {children}
        </main>
        <footer>
          <nav aria-label="Subscribe">
            <span>Subscribe:</span> <a href="/feed.atom">Atom</a> <a href="/rss.xml">RSS</a>{' '}
            <a href="/maintenances.ics">Calendar of maintenances</a>
          </nav>
          <a href="/api/status">Status as JSON</a>
        </footer>
      </body>
    </html>
  )
}
