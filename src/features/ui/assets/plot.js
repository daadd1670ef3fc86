// A plot over time, with its legend and the table of its data.
import { html, useEffect, useLayoutEffect, useRef, useState } from './dom.js'
import { number, time, timeOfDay } from './format.js'
import { t } from './language.js'
import { Rows } from './parts.js'

/**
 * @typedef {{ label: string, values: (number | null)[], color: string, kind?: 'line' | 'area' | 'bars' | 'unseen',
 *   dash?: number[], bridged?: boolean, axis?: string, decimals?: number }} Line
 * @typedef {{ title: string, times: number[], lines: Line[], unit?: string, zone?: string, height?: number, group?: string,
 *   seconds?: boolean, caption?: boolean, zoom?: (from: number, to: number) => void, draw?: (plot: any) => void, range?: [number, number] }} PlotProps
 */

/** A colour of the theme. @param {string} name */
export const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

/** The most rows of a table: it is for reading, and the CSV has everything. */
const MAX_ROWS = 200

/** @param {PlotProps} props @param {number} width @param {(at: number | null) => void} point */
function options(props, width, point) {
  const { times, lines, height = 180, zone, group, seconds, draw } = props
  const text = color('text')
  const grid = { stroke: color('grid'), width: 1 }
  const axis = { stroke: text, grid, ticks: grid, font: '11px system-ui, sans-serif' }
  const shown = (/** @type {number} */ at) => {
    if (seconds) return timeOfDay(at * 1000, zone)
    const [day, clock] = time(at * 1000, zone).split(' ')
    return clock === '00:00' ? day : `${day}\n${clock}`
  }
  const hasBars = lines.some(line => line.kind === 'bars')
  const kinds = uPlot.paths
  return {
    width, height,
    legend: { show: false },
    // The label of the last time is wider than its half of the plot.
    padding: [8, seconds ? 16 : 36, 0, 0],
    cursor: {
      drag: { x: Boolean(props.zoom), y: false, setScale: false },
      ...(group ? { sync: { key: group } } : {}),
    },
    ...(zone ? { tzDate: (/** @type {number} */ at) => uPlot.tzDate(new Date(at * 1000), zone) } : {}),
    scales: { x: { time: true, range: (/** @type {any} */ plot, /** @type {number} */ from, /** @type {number} */ to) => moments(plot, from, to, hasBars) }, y: props.range ? { range: props.range } : { range: padded }, volume: { range: quarter } },
    axes: [
      { ...axis, space: 80, size: seconds ? 26 : 40, values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map(shown) },
      { ...axis, size: 56, values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map(value => number(value)) },
    ],
    series: [{}, ...lines.map(line => ({
      label: line.label,
      scale: line.axis ?? 'y',
      stroke: color(line.color),
      width: 1.5,
      dash: line.dash,
      spanGaps: line.bridged,
      fill: line.kind === 'area' || line.kind === 'bars' ? `${color(line.color)}55` : undefined,
      points: { show: line.kind !== 'unseen' && line.values.length === 1 },
      paths: line.kind === 'bars' ? kinds.bars?.({ size: [0.7, 40] }) : line.kind === 'unseen' ? () => null : undefined,
    }))],
    hooks: {
      setCursor: [(/** @type {any} */ plot) => point(plot.cursor.idx ?? null)],
      setSelect: [(/** @type {any} */ plot) => {
        if (!props.zoom || plot.select.width < 5) return
        const at = (/** @type {number} */ left) => Math.round(plot.posToVal(left, 'x') * 1000)
        props.zoom(at(plot.select.left), at(plot.select.left + plot.select.width))
        plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
      }],
      draw: draw ? [draw] : [],
    },
    data: [times.map(at => at / 1000)],
  }
}

/** Leaves some room above and below the values, and shows zero for values of one sign.
 * @param {any} _ @param {number | null} low @param {number | null} high @returns {[number, number]} */
function padded(_, low, high) {
  if (low === null || high === null) return [0, 1]
  const [from, to] = [Math.min(low, 0), Math.max(high, 0) || (low === 0 ? 1 : 0)]
  const room = (to - from || 1) * 0.08
  return [from < 0 ? from - room : from, to + room]
}

/** Shows half an hour around a single time, and the first and the last bar completely.
 * @param {any} plot @param {number} from @param {number} to @param {boolean} hasBars @returns {[number, number]} */
function moments(plot, from, to, hasBars) {
  const { length } = plot.data[0]
  if (length === 1) return [plot.data[0][0] - 900, plot.data[0][0] + 900]
  const half = hasBars && length > 1 ? (to - from) / (length - 1) / 2 : 0
  return [from - half, to + half]
}

/** Volumes take the lowest quarter. @param {any} _ @param {number} _low @param {number} high @returns {[number, number]} */
function quarter(_, _low, high) {
  return [0, (high || 1) * 4]
}

/** @param {PlotProps} props */
export function Plot(props) {
  const { title, times, lines, unit = '', zone, seconds, caption = false } = props
  const place = useRef(/** @type {HTMLElement | null} */ (null))
  const plot = useRef(/** @type {any} */ (null))
  const latest = useRef(props)
  latest.current = props
  const [at, setAt] = useState(/** @type {number | null} */ (null))
  const [isOpen, setOpen] = useState(false)
  const form = JSON.stringify([lines.map(line => [line.label, line.kind, line.color, line.dash]), props.height, zone,
    document.documentElement.dataset.theme, props.range])
  useLayoutEffect(() => {
    const element = place.current
    if (!element) return
    const through = /** @type {PlotProps} */ ({
      ...props,
      zoom: props.zoom && ((from, to) => latest.current.zoom?.(from, to)),
      draw: props.draw && (drawn => latest.current.draw?.(drawn)),
    })
    const { data, ...rest } = options(through, element.clientWidth || 300, setAt)
    const made = new uPlot(/** @type {any} */ (rest), /** @type {any} */ ([...data, ...lines.map(line => line.values)]), element)
    plot.current = made
    const resized = new ResizeObserver(() => {
      if (element.clientWidth) made.setSize({ width: element.clientWidth, height: props.height ?? 180 })
    })
    resized.observe(element)
    return () => {
      resized.disconnect()
      made.destroy()
      plot.current = null
    }
  }, [form])
  useEffect(() => {
    plot.current?.setData([times.map(at => at / 1000), ...lines.map(line => line.values)])
  }, [times, lines])
  const shown = at !== null && at < times.length ? at : times.length - 1
  const moment = times[shown]
  const said = (/** @type {number} */ millis) => (seconds ? timeOfDay(millis, zone) : time(millis, zone))
  const first = Math.max(0, times.length - MAX_ROWS)
  return html`<figure class="plot" aria-label=${title}>
    <figcaption class=${caption ? '' : 'hidden'}>${title}${unit && html` <span class="unit">${unit}</span>`}</figcaption>
    <div class="canvas" ref=${place} aria-hidden="true"></div>
    <div class="legend">
      <span class="moment">${moment === undefined ? t('noData') : said(moment)}</span>
      ${lines.map(line => html`<span class="entry">
        <svg width="18" height="8" aria-hidden="true"><line class=${`stroke-${line.color}`} x1="0" x2="18" y1="4" y2="4"
          stroke-width=${line.kind === 'bars' || line.kind === 'area' ? 7 : 2} stroke-dasharray=${line.dash?.join(' ')} /></svg>
        ${line.label} <b>${number(line.values[shown], line.decimals)}</b></span>`)}
    </div>
    <details onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}>
      <summary>${t('table')}: ${title}</summary>
      ${isOpen && html`${first > 0 && html`<p class="note">${t('tableNewest')}</p>`}
        <${Rows} caption=${title} header=${[t('time'), ...lines.map(line => line.label)]} numeric=${1}
          rows=${times.slice(first).map((millis, row) =>
            [said(millis), ...lines.map(line => number(line.values[first + row], line.decimals))]).reverse()} />`}
    </details>
  </figure>`
}
