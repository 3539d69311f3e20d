import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Attributes,
  type Context,
  createTraceState,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base'
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify'
import type { TracingConfig } from '../config.ts'
import { version } from '../version.ts'
import { clientAddress } from './client-address.ts'
import { parseTraceparent } from './correlation.ts'

export type Tracing = ReturnType<typeof startTracing>

type ChildLoggerFactory = NonNullable<FastifyServerOptions['childLoggerFactory']>
type Log = Pick<FastifyBaseLogger, 'info' | 'warn'>

/** At shutdown, how long the last spans wait for the collector. */
const flushTimeoutMs = 1_000

/** Between two lines of the log about lost spans. */
const reportIntervalMs = 60_000

/** The methods of the semantic conventions for HTTP. Others have one name, because clients could invent any number. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'])

/**
 * Exports a span for each request to an OpenTelemetry collector, in batches, and adds the ids of the span to each line of
 * the request's log. No attribute contains what a caller chooses freely: URLs, headers and bodies may contain secrets.
 *
 * Loaded only if tracing is configured.
 */
export function startTracing(config: TracingConfig, log: Log) {
  const spans = new WeakMap<IncomingMessage, Span>()
  const { exporter, queue } = watchLosses(createExporter(config), config.batch.maxQueueSize, log)
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({
        'service.version': version,
        'service.instance.id': randomUUID(),
        'host.name': hostname(),
        ...config.resource,
      }),
    ),
    sampler: createSampler(config),
    spanProcessors: [new BatchSpanProcessor({ exporter, ...config.batch })],
  })
  const tracer = provider.getTracer('kener-api', version)
  log.info(`Traces are sent to ${new URL(config.url).origin}`)

  /** Starts the span of a request, before its hooks, so that each line of its log has the ids. */
  const childLoggerFactory: ChildLoggerFactory = (logger, bindings, options, request) => {
    const parent = readParent(request.headers)
    const span = tracer.startSpan(methodOf(request), { kind: SpanKind.SERVER }, parent)
    if (span.isRecording()) spans.set(request, span)
    const { traceId: trace_id, spanId: span_id } = span.spanContext()
    const parent_span_id = trace.getSpanContext(parent)?.spanId
    const fields =
      parent_span_id === undefined ? { trace_id, span_id } : { trace_id, span_id, parent_span_id }
    return logger.child({ ...bindings, ...fields }, options)
  }

  function endSpan(request: FastifyRequest, reply: FastifyReply): void {
    const span = spans.get(request.raw)
    if (!span) return
    spans.delete(request.raw)
    const { url: route } = request.routeOptions
    if (route !== undefined) span.updateName(`${methodOf(request.raw)} ${route}`)
    span.setAttributes(toAttributes(request, reply))
    if (reply.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
    queue.add()
    span.end()
  }

  async function shutdown(): Promise<void> {
    const isFlushed = provider.shutdown().then(
      () => true,
      () => false,
    )
    if (!(await Promise.race([isFlushed, delay(flushTimeoutMs, false, { ref: false })])))
      log.warn('the last spans could not be exported in time')
  }

  return { childLoggerFactory, endSpan, shutdown }
}

function createExporter({
  url,
  protocol,
  headers,
  tls,
  compression,
  timeoutMs,
}: TracingConfig): SpanExporter {
  const Exporter = protocol === 'http/json' ? JsonExporter : ProtobufExporter
  return new Exporter({
    url,
    headers,
    httpAgentOptions: { keepAlive: true, ...tls },
    timeoutMillis: timeoutMs,
    compression: compression === 'gzip' ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE,
  })
}

function createSampler({ sampler, samplerRatio }: TracingConfig): Sampler {
  const root = sampler.endsWith('always_on')
    ? new AlwaysOnSampler()
    : sampler.endsWith('always_off')
      ? new AlwaysOffSampler()
      : new TraceIdRatioBasedSampler(samplerRatio)
  return sampler.startsWith('parentbased') ? new ParentBasedSampler({ root }) : root
}

/**
 * Logs how many spans were lost, because the collector did not accept them, or because the queue was full. At most once
 * per minute, because an unreachable collector rejects every batch. OpenTelemetry itself reports this only to a global
 * handler.
 */
function watchLosses(exporter: SpanExporter, maxQueueSize: number, log: Log) {
  let queued = 0
  let lost = 0
  let nextAt = 0

  function report(cause: string): void {
    const now = performance.now()
    if (lost === 0 || now < nextAt) return
    log.warn({ lostSpans: lost, cause }, 'spans could not be exported')
    lost = 0
    nextAt = now + reportIntervalMs
  }

  const watched: SpanExporter = {
    export(batch, done) {
      queued -= batch.length
      exporter.export(batch, ({ code, error }) => {
        if (code !== ExportResultCode.SUCCESS) lost += batch.length
        report(error ? describeFailure(error) : 'the queue was full')
        done({ code: ExportResultCode.SUCCESS })
      })
    },
    shutdown: () => exporter.shutdown(),
  }
  return {
    exporter: watched,
    queue: {
      /** Call it before a span ends: the processor drops spans that do not fit into the queue. */
      add() {
        if (queued < maxQueueSize) queued++
        else lost++
      },
    },
  }
}

/** The body of the collector's response is not part of it. */
function describeFailure(error: Error & { code?: string | number }): string {
  return [error.code, error.message].filter(Boolean).join(' ')
}

/**
 * Returns the context with the caller's span, if there is one. A `tracestate` of more than 512 characters is dropped by
 * createTraceState.
 */
function readParent({ traceparent, tracestate }: IncomingHttpHeaders): Context {
  const parent = parseTraceparent(traceparent)
  if (!parent) return ROOT_CONTEXT
  const isPassedOn = typeof tracestate === 'string' && !tracestate.includes('kener_')
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: parent.traceId,
    spanId: parent.spanId,
    traceFlags: parent.isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
    ...(isPassedOn && { traceState: createTraceState(tracestate) }),
  })
}

function toAttributes(request: FastifyRequest, reply: FastifyReply): Attributes {
  const { statusCode } = reply
  return {
    'http.request.method': methodOf(request.raw),
    'http.route': request.routeOptions.url,
    'http.response.status_code': statusCode,
    'url.scheme': request.protocol === 'https' ? 'https' : 'http',
    'client.address': clientAddress(request),
    'kener.key.id': request.principal?.id,
    'error.type': statusCode >= 500 ? String(statusCode) : undefined,
  }
}

function methodOf({ method = '' }: IncomingMessage): string {
  return methods.has(method) ? method : '_OTHER'
}
