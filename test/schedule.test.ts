import t from 'tap'
import {
  InvalidSchedule,
  occurrences,
  once,
  parseSchedule,
  planEvents,
  type Schedule,
} from '../src/maintenances/schedule.ts'

const hour = 3_600
const at = (text: string) => new Date(text.length === 10 ? `${text}T00:00:00Z` : text)
const toText = (times: Date[]) => times.map((time) => time.toISOString().slice(0, 16))
const schedule = (rrule: string, startsAt = '2026-01-01', durationSeconds = hour): Schedule => ({
  startsAt: at(startsAt),
  rrule,
  durationSeconds,
})

function refusal(given: Schedule): Pick<InvalidSchedule, 'field' | 'message'> | undefined {
  try {
    parseSchedule(given)
    return undefined
  } catch (error) {
    if (!(error instanceof InvalidSchedule)) throw error
    return { field: error.field, message: error.message }
  }
}

await t.test('what RFC 5545 has for hourly and rarer is taken', async (t) => {
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
    'FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO',
    'FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO',
    'FREQ=YEARLY;BYYEARDAY=-1',
    'UNTIL=20270101;FREQ=DAILY',
    'FREQ=DAILY;UNTIL=20270101T120000Z',
  ]
  for (const rrule of good) t.equal(refusal(schedule(rrule)), undefined, rrule)
})

await t.test('anything else is refused, in words', async (t) => {
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
    ['FREQ=SECONDLY', /more often than hourly/],
    ['FREQ=MINUTELY', /more often than hourly/],
    ['FREQ=MINUTELY;COUNT=2', /more often than hourly/],
    ['FREQ=MINUTELY;COUNT=1;INTERVAL=5', /more often than hourly/],
    ['FREQ=HOURLY;BYMINUTE=0,30', /one minute/],
    ['FREQ=DAILY;BYHOUR=99', /hours from 0 to 23/],
    ['FREQ=DAILY;BYHOUR=1,,2', /hours from 0 to 23/],
    ['FREQ=DAILY;BYMINUTE=60', /minute from 0 to 59/],
    ['FREQ=DAILY;BYMONTH=13', /months from 1 to 12/],
    ['FREQ=DAILY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11,12,1', /months from 1 to 12/],
    ['FREQ=DAILY;BYMONTHDAY=0', /days from 1 to 31/],
    ['FREQ=YEARLY;BYYEARDAY=367', /days from 1 to 366/],
    ['FREQ=YEARLY;BYWEEKNO=54', /weeks from 1 to 53/],
    ['FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367', /places from 1 to 366/],
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
    ['FREQ=DAILY;UNTIL=20251231', /must give a time/],
    ['FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30', /must give a time/],
    ['FREQ=HOURLY;INTERVAL=24;BYHOUR=3', /must give a time/],
    ['FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;COUNT=100', /must not count up to/],
    ['FREQ=WEEKLY;BYDAY=1MO', /cannot be: BYDAY/],
    ['FREQ=DAILY;BYWEEKNO=1;BYDAY=MO', /cannot be: BYWEEKNO/],
    ['FREQ=MONTHLY;BYSETPOS=1', /cannot be: BYSETPOS/],
    ['FREQ=WEEKLY;BYDAY=MO;BYSETPOS=1', /BYSETPOS with YEARLY or MONTHLY/],
    ['FREQ=MONTHLY;BYHOUR=1,2;BYSETPOS=1', /one hour/],
    // The library would give days that only one of the two names.
    ['FREQ=YEARLY;BYYEARDAY=100;BYWEEKNO=1', /BYWEEKNO together with BYYEARDAY/],
    ['FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31;BYYEARDAY=345', /BYMONTH, BYMONTHDAY together with BYYEARDAY/],
    ['FREQ=YEARLY;BYYEARDAY=89,111;BYDAY=TH', /BYDAY together with BYYEARDAY/],
    ['FREQ=YEARLY;BYWEEKNO=25', /BYDAY with days like MO/],
    ['FREQ=YEARLY;BYWEEKNO=25;BYDAY=1MO', /BYDAY with days like MO/],
    ['FREQ=YEARLY;BYWEEKNO=25;BYDAY=MO;BYMONTHDAY=19', /no BYMONTHDAY/],
    [`FREQ=YEARLY;BYYEARDAY=${Array(60).fill('-100').join()}`, /255 characters/],
  ]
  for (const [rrule, message] of bad) t.match(refusal(schedule(rrule)), { field: 'rrule', message }, rrule)
  const late = schedule(once, '9999-12-31T23:30:00Z')
  t.match(refusal(late), { field: 'duration_seconds', message: /year 9999/ })
})

await t.test('a rule that never comes true is found out before anyone notices', async (t) => {
  const all = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, place) => from + place)
  const hostile = [
    'FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30',
    `FREQ=DAILY;BYHOUR=${all(0, 23).join()};BYMONTH=2;BYMONTHDAY=30`,
    `FREQ=YEARLY;BYYEARDAY=${all(1, 40).join()};BYMONTH=12`,
    `FREQ=YEARLY;BYSETPOS=-366;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=3;COUNT=1000`,
    'FREQ=MONTHLY;BYDAY=-6MO',
    'FREQ=YEARLY;INTERVAL=1000;BYMONTH=2;BYMONTHDAY=30',
  ]
  for (const rrule of hostile) {
    for (const startsAt of ['1970-01-01', '2026-01-01']) {
      t.equal(refusal(schedule(rrule, startsAt))?.field, 'rrule', `${rrule} from ${startsAt}`)
    }
  }
})

await t.test('occurrences lie on the days and at the time of the rule, both ends included', async (t) => {
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
  t.same(list('FREQ=DAILY', '2025-01-01', '2026-01-02'), ['2026-01-01T22:30'], 'none before the start')
  t.same(list('FREQ=DAILY;UNTIL=20260103', '2026-01-02', '2026-01-09').length, 2, 'a day is one to its end')
  t.same(list('FREQ=DAILY;UNTIL=20260103T222959Z', '2026-01-02', '2026-01-09').length, 1)
  t.same(list('FREQ=DAILY;COUNT=3', '2026-01-02', '2026-02-01').length, 2, 'counted from the first')
  t.same(list('FREQ=HOURLY', '2026-01-02', '2026-02-01', 2), ['2026-01-31T22:30', '2026-01-31T23:30'])
})

await t.test('nothing ends past the year 9999', async (t) => {
  const last = schedule('FREQ=DAILY', '9999-12-30T23:30:00Z', 1_799)
  parseSchedule(last)
  const all = occurrences(last, last.startsAt, at('9999-12-31T23:59:59Z'), 200)
  t.same(toText(all), ['9999-12-30T23:30', '9999-12-31T23:30'])
  t.same(planEvents(last, null, at('9999-12-30')).until, null)
  const longer = { ...last, durationSeconds: 1_801 }
  t.same(toText(planEvents(longer, null, at('9999-12-30')).occurrences), ['9999-12-30T23:30'])
})

await t.test('a week is planned, what is under way with it, and one to come in any case', async (t) => {
  const plan = (
    rrule: string,
    { start = '2026-01-01', now = '2026-01-10', seconds = hour, until = '' } = {},
  ) => {
    const given = planEvents(schedule(rrule, start, seconds), until === '' ? null : at(until), at(now))
    return [toText(given.occurrences), given.until && toText([given.until])[0]]
  }
  t.same(plan('FREQ=WEEKLY'), [['2026-01-15T00:00'], '2026-01-17T00:00'])
  const later = { until: '2026-01-17T00:00:00Z', now: '2026-01-11' }
  t.same(plan('FREQ=WEEKLY', later), [[], '2026-01-18T00:00'], 'there is one to come already')
  t.same(plan('FREQ=DAILY', later), [['2026-01-18T00:00'], '2026-01-18T00:00'], 'nothing twice')
  t.same(plan('FREQ=MONTHLY'), [['2026-02-01T00:00'], '2026-02-01T00:00'], 'later than in a week')
  t.same(
    plan('FREQ=MONTHLY', { now: '2026-02-01T00:30:00Z' }),
    [['2026-02-01T00:00', '2026-03-01T00:00'], '2026-03-01T00:00'],
    'under way, and the next',
  )
  t.same(
    plan('FREQ=MONTHLY', { now: '2026-02-01T01:00:00Z' })[0],
    ['2026-03-01T00:00'],
    'what is over is not planned',
  )
  t.same(plan('FREQ=DAILY;COUNT=12'), [['2026-01-10T00:00', '2026-01-11T00:00', '2026-01-12T00:00'], null])
  t.same(plan('FREQ=DAILY;UNTIL=20260105'), [[], null], 'over and done')
  t.same(plan(once, { start: '2020-01-01' }), [['2020-01-01T00:00'], null], 'once: also in the past')
  const long = schedule('FREQ=HOURLY', '2020-01-01', 30 * 24 * hour)
  const hours = toText(planEvents(long, null, at('2026-01-10')).occurrences)
  t.equal(hours.length, 200, 'no more than 200')
  t.equal(hours.at(-1), '2026-01-17T00:00', 'of which the latest')
})
