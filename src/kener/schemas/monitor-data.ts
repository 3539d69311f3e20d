import { Type } from 'typebox'
import { reportStatuses } from '../../enums.ts'
import { maxLatencyMs } from '../../reports/writer.ts'
import { Nullable, StringEnum } from '../../wire/envelope.ts'
import { minute, seconds } from './shared.ts'

const latency = (meaning: string) =>
  Type.Number({
    minimum: 0,
    maximum: maxLatencyMs,
    description: `${meaning}, in milliseconds, 0 to 2,000,000,000, rounded to whole milliseconds.`,
  })
const newStatus = StringEnum(['UP', 'DOWN', 'DEGRADED'], { description: 'Status to report.' })
const monitorTag = Type.String({ description: 'Tag of the monitor.' })

export const Point = Type.Object(
  {
    monitor_tag: monitorTag,
    timestamp: seconds('Start of the minute'),
    status: StringEnum(reportStatuses, { description: 'Status in this minute.' }),
    latency: Type.Number({ minimum: 0, description: 'Latency in milliseconds. 0: none was reported.' }),
    type: Type.String({ description: 'Always MANUAL: all data is reported by clients.' }),
  },
  {
    examples: [
      { monitor_tag: 'website', timestamp: 1_767_225_600, status: 'UP', latency: 120, type: 'MANUAL' },
    ],
  },
)

export const ReadData = Type.Object({
  start_ts: seconds('Start of the period (inclusive)'),
  end_ts: seconds('End of the period (exclusive), at least one minute after start_ts'),
})

export const FillData = Type.Object(
  {
    start_ts: minute('Start of the period (inclusive)'),
    end_ts: minute('End of the period (exclusive), at most 366 days after start_ts'),
    status: newStatus,
    latency: latency('Latency of each minute'),
    deviation: Type.Optional(
      Nullable(latency('Maximum random deviation of each minute from `latency` (default: 0)')),
    ),
  },
  {
    examples: [{ start_ts: 1_767_225_600, end_ts: 1_767_229_200, status: 'UP', latency: 120, deviation: 20 }],
  },
)

export const FillResult = Type.Object(
  {
    message: Type.String({ description: 'Confirms the update.' }),
    updated_count: Type.Integer({ minimum: 0, description: 'Number of minutes that were written.' }),
  },
  {
    description: 'The data was written',
    examples: [{ message: 'Monitoring data updated successfully', updated_count: 60 }],
  },
)

export const PointParams = Type.Object({
  monitor_tag: monitorTag,
  timestamp: seconds('Any time within the minute'),
})

export const UpdatePoint = Type.Object(
  { status: Type.Optional(newStatus), latency: Type.Optional(latency('Latency')) },
  { examples: [{ status: 'DEGRADED', latency: 900 }] },
)
