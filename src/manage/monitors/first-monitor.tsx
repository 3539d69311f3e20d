import type { FastifyRequest } from 'fastify'
import { toCurl } from '../curl.ts'
import { Copyable, IfAllowed } from '../ui.tsx'
import { monitorsPath } from './ui.tsx'

/** Shows the next step while there are no monitors. */
export function FirstMonitor({ request }: { request: FastifyRequest }) {
  return (
    <section class="card form" aria-labelledby="first-monitor">
      <h2 id="first-monitor">No monitors yet</h2>
      <p>
        A monitor stands for a service whose status is reported to this server, for example by a cron job.
      </p>
      <IfAllowed access="write:monitors">
        <p>
          <a class="button primary" href={`${monitorsPath}/new`}>
            Create the first monitor
          </a>
        </p>
        <Copyable
          id="create-monitor"
          label="Or in a terminal, with a key that has the permission write:monitors"
          text={toCurl(request, 'PUT /api/monitors/website', { name: 'Website' })}
          hasButton
        />
      </IfAllowed>
    </section>
  )
}
