import { maxOpenIncidents, recentDays, type StatusPage } from '../status/page.ts'
import { IncidentList, OpenIncident } from './incidents.tsx'
import { MaintenanceCard } from './maintenances.tsx'
import { Monitors } from './monitors.tsx'
import { summarize } from './summary.ts'
import { DateTime, Link, StatusIcon, toClass } from './ui.tsx'

/** Address of this server, which the first steps of an operator contain. If it is not known, status.js replaces it. */
type Address = { baseUrl: string; isKnown: boolean }

export function Overview({ page, address }: { page: StatusPage; address: Address }) {
  const { incidents, recent, maintenances } = page
  const { status, sentence } = summarize(page)
  const ongoing = maintenances.filter(({ state }) => state === 'ONGOING')
  const upcoming = maintenances.filter(({ state }) => state !== 'ONGOING')
  return (
    <>
      <div class={`overall ${toClass(status)}`}>
        <StatusIcon status={status} />
        <div>
          <h1>{sentence}</h1>
          <p class="muted">
            As of <DateTime time={startOfMinute(page.now)} />
          </p>
        </div>
      </div>
      {incidents.length > 0 && (
        <section aria-labelledby="incidents">
          <h2 id="incidents">Open incidents</h2>
          {incidents.slice(0, maxOpenIncidents).map((incident) => (
            <OpenIncident key={incident.id} incident={incident} />
          ))}
          {incidents.length > maxOpenIncidents && (
            <p class="muted">More incidents are open. Only the {maxOpenIncidents} newest are shown here.</p>
          )}
        </section>
      )}
      {ongoing.length > 0 && (
        <section aria-labelledby="ongoing">
          <h2 id="ongoing">Ongoing maintenance</h2>
          {ongoing.map((maintenance) => (
            <MaintenanceCard key={maintenance.id} maintenance={maintenance} />
          ))}
        </section>
      )}
      {page.monitors.length > 0 ? <Monitors page={page} /> : <FirstSteps address={address} />}
      {upcoming.length > 0 && (
        <section aria-labelledby="upcoming">
          <h2 id="upcoming">Upcoming maintenance</h2>
          {upcoming.map((maintenance) => (
            <MaintenanceCard key={maintenance.id} maintenance={maintenance} />
          ))}
        </section>
      )}
      <section aria-labelledby="recent">
        <h2 id="recent">Past incidents</h2>
        {recent.length > 0 ? (
          <IncidentList incidents={recent} />
        ) : (
          <p class="muted">{`No ${incidents.length > 0 ? 'other ' : ''}incidents in the last ${recentDays} days.`}</p>
        )}
        <p>
          <Link to="/incidents">All incidents by month</Link>
        </p>
      </section>
    </>
  )
}

/** Rounds down, so that the page of a minute is the same for all requests, and a cached one is still valid. */
function startOfMinute(time: Date): Date {
  return new Date(Math.floor(time.getTime() / 60_000) * 60_000)
}

/** Shown to the operator of a new installation. */
function FirstSteps({ address: { baseUrl, isKnown } }: { address: Address }) {
  return (
    <section class="card first-steps" aria-labelledby="first-steps">
      <h2 id="first-steps">This page shows monitors as soon as they report</h2>
      <p>Create a monitor and report its status, with a key that has the permission write:monitors:</p>
      <pre tabIndex={0} data-origin={isKnown ? undefined : baseUrl}>
        {[
          `curl -X PUT ${baseUrl}/api/monitors/website \\`,
          `  -H "Authorization: Bearer $KENER_API_KEY" \\`,
          `  -H "Content-Type: application/json" -d '{"name": "Website"}'`,
          `curl -X POST ${baseUrl}/api/monitors/website/data \\`,
          `  -H "Authorization: Bearer $KENER_API_KEY" \\`,
          `  -H "Content-Type: application/json" -d '{"status": "UP"}'`,
        ].join('\n')}
      </pre>
      <p>
        The <Link to="/manage">admin panel</Link> creates keys. All requests are described in the{' '}
        <Link to="/docs">documentation of the API</Link>.
      </p>
    </section>
  )
}
