import { Type } from 'typebox'
import type { Status } from '../../enums.ts'
import type { Monitor } from '../../monitors/repository.ts'
import { TimeAgo } from '../ui.tsx'

export const monitorsPath = '/manage/monitors'

export function monitorPath(tag: string): string {
  return `${monitorsPath}/${encodeURIComponent(tag)}`
}

export const MonitorParams = Type.Object({ tag: Type.String() })

/** The pages above a page about the monitor. */
export function trailOf({ tag, name }: Pick<Monitor, 'tag' | 'name'>): [name: string, path: string][] {
  return [
    ['Monitors', monitorsPath],
    [name, monitorPath(tag)],
  ]
}

/** `NO_DATA`: `No data` */
export function formatStatus(status: Status): string {
  return status === 'UP' ? 'Up' : status.charAt(0) + status.slice(1).toLowerCase().replace('_', ' ')
}

export function MonitorStatus({ status }: { status: Status }) {
  return <span class={`status ${status.toLowerCase()}`}>{formatStatus(status)}</span>
}

type StatusReasonProps = {
  source: Monitor['status_source']
  /** Undefined: not shown. */
  lastReport?: Monitor['last_report']
}

/** Says what determines the status. */
export function StatusReason({ source, lastReport }: StatusReasonProps) {
  switch (source) {
    case 'incident':
      return <>by an open incident</>
    case 'maintenance':
      return <>by an ongoing maintenance</>
    case 'report':
      return <>reported {lastReport && <TimeAgo time={toTime(lastReport.minute)} />}</>
    case 'default':
      if (lastReport === undefined) return <>by default, without a valid report</>
      return lastReport ? <>by default: the last report is too old</> : <>by default: nothing was reported</>
  }
}

/** @param minute since 1970 */
export function toTime(minute: number): Date {
  return new Date(minute * 60_000)
}

/** Marks a monitor that the public page does not show. */
export function VisibilityTags({ monitor }: { monitor: Pick<Monitor, 'enabled' | 'hidden'> }) {
  return (
    <>
      {!monitor.enabled && <span class="tag">disabled</span>}
      {monitor.hidden && <span class="tag">hidden</span>}
    </>
  )
}
