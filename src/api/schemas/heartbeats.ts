import { Type } from 'typebox'
import { maxLatencyMs } from '../../reports/writer.ts'
import { PutMonitorParams } from './monitors.ts'

export const HeartbeatUrl = Type.Object({
  url: Type.String({
    description: 'The URL, which is not returned again. It contains a secret.',
    examples: ['https://status.example.com/ext/heartbeat/backup/3mVJ0g8sYqXb6nC2uTzR5kPwL9aHdE1fWiO7xQvSyKt'],
  }),
})

/** A URL that does not match is 404, like a wrong secret, without a query. */
export const HeartbeatParams = Type.Object({
  ...PutMonitorParams.properties,
  secret: Type.String({
    pattern: '^[0-9A-Za-z]{43}$',
    errorMessage: 'must consist of 43 letters and digits',
    description: 'Secret of the URL: 43 letters and digits.',
  }),
})

export const HeartbeatQuery = Type.Object({
  latency_ms: Type.Optional(
    Type.Number({
      minimum: 0,
      maximum: maxLatencyMs,
      description:
        'Latency in milliseconds, 0 to 86,400,000 (one day). It is rounded to whole milliseconds. Default: not measured.',
    }),
  ),
})
