import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ComponentChildren, VNode } from 'preact'
import { useContext } from 'preact/hooks'
import { renderToString } from 'preact-render-to-string'
import { type Access, allows } from '../permissions.ts'
import { CsrfToken, Form, Granted, Now, PublicPage } from './ui.tsx'

/** Entries of the main navigation, each for keys with the permission that its page requires. */
const sections = [
  { id: 'overview', path: '/manage', label: 'Overview', permission: 'any-key' },
  { id: 'monitors', path: '/manage/monitors', label: 'Monitors', permission: 'read:monitors' },
  { id: 'incidents', path: '/manage/incidents', label: 'Incidents', permission: 'read:incidents' },
  { id: 'maintenances', path: '/manage/maintenances', label: 'Maintenances', permission: 'read:incidents' },
  { id: 'settings', path: '/manage/settings', label: 'Settings', permission: 'admin' },
  { id: 'audit', path: '/manage/audit', label: 'Audit', permission: 'admin' },
] as const satisfies { id: string; path: string; label: string; permission: Access }[]

export type Page = {
  title: string
  section?: (typeof sections)[number]['id']
  /** Confirms the last action. */
  notice?: string | undefined
  /** Path that a reload opens instead of this page, because this page must not be shown twice. */
  reloadPath?: string
}

export const htmlType = 'text/html; charset=utf-8'

/** Notices that every page can show. */
const notices = new Map([
  [
    'unchanged',
    'Nothing was changed, because the page was opened before your last log-in. Try again if you still want the change.',
  ],
  ['done', 'Done. Your key may change this, but not read it.'],
])

const enteredNotice =
  'Nothing was saved yet, because you opened this form before your last log-in. Check it, and send it again.'

/** Returns the notice of a page that has none of its own. */
function noticeOf({ query, principal, isShownAgain }: FastifyRequest): string | undefined {
  return isShownAgain && principal
    ? enteredNotice
    : notices.get((query as { notice?: string } | undefined)?.notice ?? '')
}

export function sendPage(
  request: FastifyRequest,
  reply: FastifyReply,
  page: Page,
  content: ComponentChildren,
): FastifyReply {
  // Undefined if the request was rejected before its session was read.
  const session = request.session as FastifyRequest['session'] | undefined
  const html = toHtml(
    <CsrfToken.Provider value={session?.csrfSecret === undefined ? '' : reply.generateCsrf()}>
      <Now.Provider value={session?.now ?? new Date()}>
        <Granted.Provider value={request.principal?.permissions ?? []}>
          <PublicPage.Provider value={publicPageOf(request)}>
            <Document
              page={{ ...page, notice: page.notice ?? noticeOf(request) }}
              userName={request.principal?.name}
            >
              {content}
            </Document>
          </PublicPage.Provider>
        </Granted.Provider>
      </Now.Provider>
    </CsrfToken.Provider>,
  )
  return reply.type(htmlType).send(html)
}

/** Renders a page without a session. */
export function renderPage(page: Page, content: ComponentChildren): string {
  return toHtml(
    <Document page={page} userName={undefined}>
      {content}
    </Document>,
  )
}

function toHtml(document: VNode): string {
  return `<!doctype html>${renderToString(document)}`
}

/** SITE_URL, because the public page may have another host. Otherwise links are relative to the panel's. */
function publicPageOf({ server }: FastifyRequest): string | undefined {
  const { publicPage, siteUrl = '' } = server.config
  return publicPage ? siteUrl : undefined
}

function Document({
  page,
  userName,
  children,
}: {
  page: Page
  userName: string | undefined
  children: ComponentChildren
}) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="robots" content="noindex" />
        <title>{`${page.title} · Kener`}</title>
        <link rel="icon" href="/manage/assets/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/manage/assets/manage.css" />
        <script src="/manage/assets/manage.js" defer />
      </head>
      <body data-reload-path={page.reloadPath}>
        <a class="skip" href="#main">
          Skip to content
        </a>
        <Header section={page.section} userName={userName} />
        <main id="main" tabIndex={-1}>
          {page.notice !== undefined && (
            <p class="notice" role="status">
              {page.notice}
            </p>
          )}
          {children}
        </main>
      </body>
    </html>
  )
}

function Header({ section, userName }: { section: Page['section']; userName: string | undefined }) {
  const granted = useContext(Granted)
  const publicPage = useContext(PublicPage)
  return (
    <header class="top">
      <a class="brand" href="/manage">
        <img src="/manage/assets/icon.svg" alt="" width="22" height="22" />
        Kener
      </a>
      {userName !== undefined && (
        <>
          <nav aria-label="Main">
            {sections
              .filter(({ permission }) => allows(granted, permission))
              .map(({ id, path, label }) => (
                <a key={id} href={path} aria-current={section === id ? 'page' : undefined}>
                  {label}
                </a>
              ))}
            <a href="/docs">Docs</a>
            {publicPage !== undefined && <a href={`${publicPage}/`}>Status page</a>}
          </nav>
          <Form action="/manage/logout" class="account">
            <a class="user" href="/manage/account" title="You are logged in with this key">
              {userName}
            </a>
            <button class="quiet">Log out</button>
          </Form>
        </>
      )}
    </header>
  )
}
