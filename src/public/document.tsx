import type { ComponentChildren } from 'preact'
import { renderToString } from 'preact-render-to-string'
import { assetPath } from './assets.ts'
import { IconShapes, Link, Now, SitePath } from './ui.tsx'

export type Site = {
  siteName: string
  /** Path of SITE_URL. */
  sitePath: string
}

type Page = Site & {
  /** Time of the database at which the page was read. */
  now: Date
  title: string
  /** For search engines and previews of links, shortened. */
  description: string
  section?: 'status' | 'incidents'
}

export function renderPage(page: Page, content: ComponentChildren): Buffer {
  const html = renderToString(
    <SitePath.Provider value={page.sitePath}>
      <Now.Provider value={page.now}>
        <Document page={page}>{content}</Document>
      </Now.Provider>
    </SitePath.Provider>,
  )
  return Buffer.from(`<!doctype html>${html}`)
}

function Document({ page, children }: { page: Page; children: ComponentChildren }) {
  const { siteName, sitePath, title, description, section } = page
  const excerpt = shorten(description)
  const current = (name: Page['section']) => (section === name ? 'page' : undefined)
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        <meta name="description" content={excerpt} />
        <meta property="og:title" content={title} />
        <meta property="og:description" content={excerpt} />
        <link rel="icon" href={sitePath + assetPath('icon.svg')} type="image/svg+xml" />
        <link rel="stylesheet" href={sitePath + assetPath('status.css')} />
        <link
          rel="alternate"
          href={`${sitePath}/feed.atom`}
          type="application/atom+xml"
          title={`${siteName} (Atom)`}
        />
        <link
          rel="alternate"
          href={`${sitePath}/rss.xml`}
          type="application/rss+xml"
          title={`${siteName} (RSS)`}
        />
        <link
          rel="alternate"
          href={`${sitePath}/maintenances.ics`}
          type="text/calendar"
          title={`${siteName} (maintenances)`}
        />
        <script src={sitePath + assetPath('status.js')} defer />
      </head>
      <body>
        <a class="skip" href="#main">
          Skip to content
        </a>
        <IconShapes />
        <header class="top">
          <Link class="brand" to="/">
            {siteName}
          </Link>
          <nav aria-label="Main">
            <Link to="/" aria-current={current('status')}>
              Status
            </Link>
            <Link to="/incidents" aria-current={current('incidents')}>
              Incidents
            </Link>
          </nav>
        </header>
        <main id="main" tabIndex={-1}>
          {children}
        </main>
        <footer>
          <nav aria-label="Subscribe">
            <span>Subscribe:</span> <Link to="/feed.atom">Atom</Link> <Link to="/rss.xml">RSS</Link>{' '}
            <Link to="/maintenances.ics">Calendar of maintenances</Link>
          </nav>
          <Link to="/api/status">Status as JSON</Link>
        </footer>
      </body>
    </html>
  )
}

/** Longest description, in characters, of which search engines and previews show about 200. */
const maxDescription = 300

function shorten(text: string): string {
  const characters = Array.from(text.replace(/\s+/g, ' '))
  if (characters.length <= maxDescription) return characters.join('')
  return `${characters.slice(0, maxDescription).join('')}…`
}
