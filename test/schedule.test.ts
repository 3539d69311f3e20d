import t from 'tap'
import { ApiError, type ErrorDetail } from '../src/errors.ts'
import { evaluate } from '../src/maintenances/evaluation.ts'
import { assertOccurs, occurrences, planEvents } from '../src/maintenances/recurrence.ts'
import { assertValidSchedule, once, type Schedule } from '../src/maintenances/schedule.ts'

const hour = 3_600
const at = (text: string) => new Date(text.length === 10 ? `${text}T00:00:00Z` : text)
const toText = (times: Date[]) => times.map((time) => time.toISOString().slice(0, 16))
const schedule = (rrule: string, start = '2026-01-01', duration_seconds = hour): Schedule => ({
  starts_at: at(start),
  rrule,
  duration_seconds,
})

/** Returns the field that is rejected, and why; undefined if the schedule is valid. */
function findError(given: Schedule): ErrorDetail | undefined {
  try {
    assertValidSchedule(given)
    assertOccurs(given)
    return undefined
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return error.details?.[0]
  }
}

const all = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

/** Takes seconds to evaluate. */
const expensive = `FREQ=YEARLY;BYWEEKNO=${all(1, 53).join()};BYDAY=MO,TU,WE,TH,FR,SA;BYSETPOS=366`

await t.test('rules of RFC 5545 that are hourly or less frequent are accepted', async (t) => {
  const good = [
    once,
    'FREQ=HOURLY',
    'FREQ=HOURLY;INTERVAL=6;BYMINUTE=30',
    'FREQ=DAILY;BYHOUR=3,15;BYMINUTE=5',
    'FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29',
    'FREQ=DAILY;COUNT=100',
    'FREQ=WEEKLY;BYDAY=SU',
    'FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU',
    'FREQ=WEEKLY;COUNT=100',
    'FREQ=MONTHLY;BYDAY=1SU',
    'FREQ=MONTHLY;BYDAY=+1SU,-1MO',
    'FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1',
    'FREQ=MONTHLY;BYMONTHDAY=-1',
    'FREQ=YEARLY;BYMONTH=3,6,9,12;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1',
    `FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=${all(0, 23).join()}`,
    'FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO',
    'FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO',
    'FREQ=YEARLY;BYYEARDAY=-1',
    'UNTIL=20270101;FREQ=DAILY',
    'FREQ=DAILY;UNTIL=20270101T120000Z',
  ]
  for (const rrule of good) t.equal(findError(schedule(rrule)), undefined, rrule)
})

await t.test('other rules are rejected with a message that says what is allowed', async (t) => {
  const bad: [rrule: string, message: RegExp][] = [
    ['', /must be a list like/],
    ['x', /must be a list like/],
    ['FREQ=DAILY;', /must be a list like/],
    ['FREQ=DAILY;FOO=1', /must be a list like/],
    ['RRULE:FREQ=DAILY', /must be a list like/],
    ['DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY', /must be a list like/],
    ['FREQ=DAILY\nRDATE:20260101T000000Z', /must be a list like/],
    ['FREQ=DAILY;DTSTART=20260101', /must be a list like/],
    ['freq=daily', /must be a list like/],
    ['FREQ=DAILY; COUNT=1', /must be a list like/],
    ['FREQ=DAILY;BYSECOND=1', /must be a list like/],
    ['FREQ=DAILY;BYHOUR=', /must be a list like/],
    ['INTERVAL=2', /must have FREQ/],
    ['FREQ=DAILY;FREQ=DAILY', /FREQ twice/],
    ['FREQ=OFTEN', /YEARLY, MONTHLY/],
    ['FREQ=DAILY,WEEKLY', /YEARLY, MONTHLY/],
    ['FREQ=SECONDLY', /more frequent than hourly/],
    ['FREQ=MINUTELY', /more frequent than hourly/],
    ['FREQ=MINUTELY;COUNT=2', /more frequent than hourly/],
    ['FREQ=MINUTELY;COUNT=1;INTERVAL=5', /more frequent than hourly/],
    ['FREQ=HOURLY;BYMINUTE=0,30', /one minute/],
    ['FREQ=DAILY;BYHOUR=99', /hours from 0 to 23/],
    ['FREQ=DAILY;BYHOUR=1,,2', /hours from 0 to 23/],
    ['FREQ=DAILY;BYMINUTE=60', /minute from 0 to 59/],
    ['FREQ=DAILY;BYMONTH=13', /months from 1 to 12/],
    ['FREQ=DAILY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11,12,1', /months from 1 to 12/],
    ['FREQ=DAILY;BYMONTHDAY=0', /days from 1 to 31/],
    ['FREQ=YEARLY;BYYEARDAY=367', /days from 1 to 366/],
    ['FREQ=YEARLY;BYWEEKNO=54', /weeks from 1 to 53/],
    ['FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367', /positions from 1 to 366/],
    ['FREQ=WEEKLY;BYDAY=XX', /days like MO/],
    ['FREQ=MONTHLY;BYDAY=0MO', /days like MO/],
    ['FREQ=WEEKLY;WKST=1MO', /a day like MO/],
    ['FREQ=DAILY;INTERVAL=0', /1 to 1000 for INTERVAL/],
    ['FREQ=DAILY;INTERVAL=1001', /1 to 1000 for INTERVAL/],
    ['FREQ=DAILY;COUNT=0', /1 to 100 for COUNT/],
    ['FREQ=DAILY;COUNT=100000', /1 to 100 for COUNT/],
    ['FREQ=DAILY;UNTIL=20270230', /a day like 20270131/],
    ['FREQ=DAILY;UNTIL=20270101T120000', /a day like 20270131/],
    ['FREQ=DAILY;UNTIL=20270101;COUNT=5', /both COUNT and UNTIL/],
    ['FREQ=DAILY;UNTIL=20251231', /must occur at least once/],
    ['FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30', /must occur at least once/],
    ['FREQ=HOURLY;INTERVAL=24;BYHOUR=3', /must occur at least once/],
    ['FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;COUNT=100', /must reach its last occurrence sooner/],
    ['FREQ=WEEKLY;BYDAY=1MO', /is not valid: BYDAY/],
    ['FREQ=DAILY;BYWEEKNO=1;BYDAY=MO', /is not valid: BYWEEKNO/],
    ['FREQ=MONTHLY;BYSETPOS=1', /is not valid: BYSETPOS/],
    ['FREQ=WEEKLY;BYDAY=MO;BYSETPOS=1', /BYSETPOS with YEARLY or MONTHLY/],
    ['FREQ=MONTHLY;BYHOUR=1,2;BYSETPOS=1', /one hour/],
    [expensive, /at most 60 combinations .* with BYSETPOS/],
    ['FREQ=YEARLY;BYWEEKNO=1,2;BYDAY=MO;BYSETPOS=2', /BYWEEKNO together with BYSETPOS/],
    [`FREQ=YEARLY;BYWEEKNO=${all(1, 50).join()};BYDAY=MO,TU,WE,TH,FR`, /at most 200 combinations/],
    // For these, the library returns days that match only one of the two parts.
    ['FREQ=YEARLY;BYYEARDAY=100;BYWEEKNO=1', /BYWEEKNO together with BYYEARDAY/],
    ['FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31;BYYEARDAY=345', /BYMONTH, BYMONTHDAY together with BYYEARDAY/],
    ['FREQ=YEARLY;BYYEARDAY=89,111;BYDAY=TH', /BYDAY together with BYYEARDAY/],
    ['FREQ=YEARLY;BYWEEKNO=25', /BYDAY with days like MO/],
    ['FREQ=YEARLY;BYWEEKNO=25;BYDAY=1MO', /BYDAY with days like MO/],
    ['FREQ=YEARLY;BYWEEKNO=25;BYDAY=MO;BYMONTHDAY=19', /no BYMONTHDAY/],
    [`FREQ=YEARLY;BYYEARDAY=${Array(60).fill('-100').join()}`, /255 characters/],
  ]
  for (const [rrule, message] of bad) t.match(findError(schedule(rrule)), { path: '/rrule', message }, rrule)
  const late = schedule(once, '9999-12-31T23:30:00Z')
  t.match(findError(late), { path: '/duration_seconds', message: /year 9999/ })
})

await t.test('a rule that never occurs is rejected without a long search', async (t) => {
  const hostile = [
    'FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30',
    `FREQ=DAILY;BYHOUR=${all(0, 23).join()};BYMONTH=2;BYMONTHDAY=30`,
    `FREQ=YEARLY;BYYEARDAY=${all(1, 40).join()};BYMONTH=12`,
    `FREQ=YEARLY;BYSETPOS=-366;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=3;COUNT=1000`,
    'FREQ=MONTHLY;BYDAY=-6MO',
    'FREQ=YEARLY;INTERVAL=1000;BYMONTH=2;BYMONTHDAY=30',
  ]
  for (const rrule of hostile) {
    for (const start of ['1970-01-01', '2026-01-01']) {
      t.equal(findError(schedule(rrule, start))?.path, '/rrule', `${rrule} from ${start}`)
    }
  }
})

await t.test(
  'occurrences match the days and the time of the rule, including both ends of the range',
  async (t) => {
    const list = (rrule: string, from: string, to: string, max = 200) =>
      toText(occurrences(schedule(rrule, '2026-01-01T22:30:00Z'), at(from), at(to), max))
    t.same(list('FREQ=WEEKLY;BYDAY=SU', '2026-01-01', '2026-01-19'), [
      '2026-01-04T22:30',
      '2026-01-11T22:30',
      '2026-01-18T22:30',
    ])
    t.same(list('FREQ=DAILY', '2026-01-02T22:30:00Z', '2026-01-03T22:30:00Z'), [
      '2026-01-02T22:30',
      '2026-01-03T22:30',
    ])
    t.same(
      list('FREQ=DAILY', '2025-01-01', '2026-01-02'),
      ['2026-01-01T22:30'],
      'no occurrence before the start',
    )
    t.same(
      list('FREQ=DAILY;UNTIL=20260103', '2026-01-02', '2026-01-09').length,
      2,
      'a date in UNTIL includes the whole day',
    )
    t.same(list('FREQ=DAILY;UNTIL=20260103T222959Z', '2026-01-02', '2026-01-09').length, 1)
    t.same(
      list('FREQ=DAILY;COUNT=3', '2026-01-02', '2026-02-01').length,
      2,
      'COUNT starts at the first occurrence',
    )
    t.same(list('FREQ=HOURLY', '2026-01-02', '2026-02-01', 2), ['2026-01-31T22:30', '2026-01-31T23:30'])
  },
)

await t.test('no occurrence ends after the year 9999', async (t) => {
  const last = schedule('FREQ=DAILY', '9999-12-30T23:30:00Z', 1_799)
  assertValidSchedule(last)
  const all = occurrences(last, last.starts_at, at('9999-12-31T23:59:59Z'), 200)
  t.same(toText(all), ['9999-12-30T23:30', '9999-12-31T23:30'])
  t.same(planEvents(last, at('9999-12-30')).until, null)
  const longer = { ...last, duration_seconds: 1_801 }
  t.same(toText(planEvents(longer, at('9999-12-30')).occurrences), ['9999-12-30T23:30'])
})

await t.test(
  'planning covers ongoing occurrences, the next 7 days, and at least one future occurrence',
  async (t) => {
    const plan = (rrule: string, { start = '2026-01-01', now = '2026-01-10', seconds = hour } = {}) => {
      const planned = planEvents(schedule(rrule, start, seconds), at(now))
      return [toText(planned.occurrences), planned.until && toText([planned.until])[0]]
    }
    t.same(plan('FREQ=WEEKLY'), [['2026-01-15T00:00'], '2026-01-17T00:00'])
    t.same(
      plan('FREQ=MONTHLY'),
      [['2026-02-01T00:00'], '2026-02-01T00:00'],
      'a future occurrence after more than 7 days',
    )
    t.same(
      plan('FREQ=MONTHLY', { now: '2026-02-01T00:30:00Z' }),
      [['2026-02-01T00:00', '2026-03-01T00:00'], '2026-03-01T00:00'],
      'the ongoing occurrence and the next',
    )
    t.same(
      plan('FREQ=MONTHLY', { now: '2026-02-01T01:00:00Z' })[0],
      ['2026-03-01T00:00'],
      'an occurrence that has ended is not planned',
    )
    t.same(plan('FREQ=DAILY;COUNT=12'), [['2026-01-10T00:00', '2026-01-11T00:00', '2026-01-12T00:00'], null])
    t.same(plan('FREQ=DAILY;UNTIL=20260105'), [[], null], 'a rule without further occurrences')
    t.same(
      plan(once, { start: '2020-01-01' }),
      [['2020-01-01T00:00'], null],
      'a schedule that occurs once is planned even in the past',
    )
    const long = schedule('FREQ=HOURLY', '2020-01-01', 30 * 24 * hour)
    const hours = toText(planEvents(long, at('2026-01-10')).occurrences)
    t.equal(hours.length, 200, 'at most 200 occurrences')
    t.equal(hours.at(-1), '2026-01-17T00:00', 'the latest ones')
  },
)

await t.test(
  'an evaluation that exceeds its budget is ended and rejected, and the next one succeeds',
  async (t) => {
    const now = at('2026-01-10')
    const stored = { schedule: schedule(expensive, '1999-01-01'), now, isNew: false }
    await t.rejects(evaluate(stored, 'a', 20), { message: /rrule takes too long/ })
    const weekly = { schedule: schedule('FREQ=WEEKLY'), now, isNew: true }
    const { occurrences, until } = await evaluate(weekly, 'a')
    t.same([toText(occurrences), until], [['2026-01-15T00:00'], at('2026-01-17')])
    const never = { schedule: schedule('FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30'), now, isNew: true }
    await t.rejects(evaluate(never, 'a'), { message: /rrule must occur at least once/ })
    const results = await Promise.allSettled(Array.from({ length: 101 }, () => evaluate(weekly, 'a')))
    t.equal(results.filter(({ status }) => status === 'rejected').length, 1, 'the queue is bounded')
  },
)

await t.test('a caller waits for at most one evaluation of each other caller', async (t) => {
  const now = at('2026-01-10')
  const order: string[] = []
  const callers = ['a', 'a', 'a', 'b', 'b', 'c']
  const evaluation = { schedule: schedule('FREQ=WEEKLY'), now, isNew: true }
  await Promise.all(callers.map((caller) => evaluate(evaluation, caller).then(() => order.push(caller))))
  t.same(order, ['a', 'b', 'c', 'a', 'b', 'a'])
})
