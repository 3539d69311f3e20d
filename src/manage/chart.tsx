/** A bar, and what it stands for. */
export type Bar = {
  value: number
  /** The part of the value that is marked, at the top of the bar. */
  marked?: number
  title: string
}

const width = 600
const height = 90

/** Draws one bar per value. @param label describes the chart, because its bars are not read out */
export function BarChart({ bars, label, axis }: { bars: Bar[]; label: string; axis: [string, string] }) {
  const highest = Math.max(...bars.map(({ value }) => value))
  const step = width / bars.length
  const heightOf = (value: number) => (value === 0 ? 0 : Math.max(3, (value / highest) * height))
  return (
    <>
      <svg
        class="chart"
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={label}
      >
        {bars.map(({ value, marked = 0, title }, index) => {
          const x = index * step + step * 0.14
          const barHeight = value === 0 ? 1 : heightOf(value)
          return (
            <g key={index}>
              <title>{title}</title>
              <rect
                class={value === 0 ? 'zero' : undefined}
                x={x}
                y={height - barHeight}
                width={step * 0.72}
                height={barHeight}
              />
              {marked > 0 && (
                <rect
                  class="marked"
                  x={x}
                  y={height - barHeight}
                  width={step * 0.72}
                  height={heightOf(marked)}
                />
              )}
            </g>
          )
        })}
      </svg>
      <div class="axis muted" aria-hidden="true">
        {axis.map((text) => (
          <span key={text}>{text}</span>
        ))}
      </div>
    </>
  )
}
