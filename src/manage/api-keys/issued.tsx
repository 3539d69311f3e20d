import type { FastifyReply, FastifyRequest } from 'fastify'
import { invalidRequest } from '../../errors.ts'
import type { IssuedKey } from '../../keys/lifecycle.ts'
import type { ApiKey } from '../../keys/repository.ts'
import type { OldKey } from '../../keys/rotation-repository.ts'
import { isKeyId } from '../../keys/token.ts'
import { readText } from '../form.ts'
import { sendPage } from '../page.tsx'
import { Copyable, Fact, TimeAgo, TimeAgoOrNever } from '../ui.tsx'
import { Breadcrumbs, KeyLink, keyPath, keysPath, PermissionTags, TagsOrAny } from './ui.tsx'

/** Reads the id of the key to create. It is generated with the form, so that a form sent twice creates one key. */
export function readKeyId(body: unknown): string {
  const id = readText(body, 'id')
  if (!isKeyId(id)) throw invalidRequest('The form is incomplete. Open its page again')
  return id
}

/** The key that was rotated. */
type Predecessor = { old: OldKey; isOwn: boolean }

/**
 * Sends the only page that shows a key. A reload opens the key's own page; without JavaScript it sends the form again,
 * which is rejected because the id is taken.
 */
export function sendIssuedKey(
  request: FastifyRequest,
  reply: FastifyReply,
  { key, token }: IssuedKey,
  predecessor?: Predecessor,
): FastifyReply {
  const origin = `${request.protocol}://${request.host}`
  return sendPage(
    request,
    reply.code(201),
    { title: 'Copy your new key', section: 'settings', reloadPath: keyPath(key.id) },
    <IssuedKeyPage apiKey={key} token={token} origin={origin} predecessor={predecessor} />,
  )
}

type PageProps = { apiKey: ApiKey; token: string; origin: string; predecessor: Predecessor | undefined }

function IssuedKeyPage({ apiKey, token, origin, predecessor }: PageProps) {
  return (
    <>
      <Breadcrumbs current="New key" />
      <h1>Copy your new key</h1>
      <section class="card issued">
        <p class="warning">
          <strong>Copy the key now: it won’t be shown again.</strong> The service stores only a hash of it.
        </p>
        <Copyable id="new-key" label={`API key: ${apiKey.name}`} text={token} hasButton />
        <Copyable
          id="try-it"
          label="Try it in a terminal"
          text={`curl -X GET ${origin}/api/me -H "Authorization: Bearer ${token}"`}
        />
        <dl class="facts">
          <Fact name="Permissions">
            <PermissionTags permissions={apiKey.permissions} />
          </Fact>
          {apiKey.monitors && (
            <Fact name="Monitors">
              <TagsOrAny items={apiKey.monitors} any="All" />
            </Fact>
          )}
          {apiKey.allowed_ips && (
            <Fact name="Addresses">
              <TagsOrAny items={apiKey.allowed_ips} any="Any" />
            </Fact>
          )}
          <Fact name="Expiry">
            <TimeAgoOrNever time={apiKey.expires_at} />
          </Fact>
          {predecessor && (
            <Fact name="Old key">
              <OldKeyExpiry apiKey={predecessor.old} />
            </Fact>
          )}
        </dl>
        {predecessor?.isOwn && (
          <p class="muted">
            You are logged in with the old key. Your session ends when it expires; then log in with the new
            key.
          </p>
        )}
        <a class="button" href={keysPath}>
          Done
        </a>
      </section>
    </>
  )
}

function OldKeyExpiry({ apiKey: { id, status, expires_at: expiry } }: { apiKey: OldKey }) {
  return (
    <>
      <KeyLink id={id} />{' '}
      {status === 'active' && expiry ? (
        <>
          expires <TimeAgo time={expiry} />
        </>
      ) : (
        'has expired'
      )}
    </>
  )
}
