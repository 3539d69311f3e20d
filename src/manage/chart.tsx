/** A bar, and what it stands for. */
type Bar = {
  value: number
  /** The part of the value that is marked, at the top of the bar. */
  marked?: number
  title: string
}

type Props = {
  bars: Bar[]
  /** Describes the chart, because its bars are not read out. */
  label: string
  /** Formats the highest value, which the axis shows. */
  format: (value: number) => string
  /** Labels of the first and the last bar. */
  axis: [string, string]
}

const width = 600
const height = 90

/** Draws one bar per value, and nothing if all are 0. */
export function BarChart({ bars, label, format, axis }: Props) {
  const highest = Math.max(...bars.map(({ value }) => value))
  if (highest === 0) return null
  const step = width / bars.length
  const heightOf = (value: number) => (value === 0 ? 0 : Math.max(3, (value / highest) * height))
  return (
    <>
      <div class="scale muted" aria-hidden="true">
        {format(highest)}
      </div>
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
