// A heat map: one row for each day, one column for each quarter of an hour.
import { html, useLayoutEffect, useMemo, useRef, useState } from './dom.js'
import { number, time } from './format.js'
import { t } from './language.js'
import { Rows } from './parts.js'

const COLUMNS = 96
/** The heights of a row and of all rows, pixels: a year is as high as a screen. */
const ROW_HEIGHT = [3, 10]
const HEIGHT = 1_000

// Cividis, whose steps people with colour-blindness see as well (Nuñez, Anderton, Renslow 2018).
const STEPS = [[0, 34, 78], [35, 62, 108], [87, 93, 109], [124, 123, 120], [165, 156, 116], [211, 193, 100], [254, 232, 56]]

/** @param {number} share @returns {string} */
function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (STEPS.length - 1)
  const low = Math.min(Math.floor(at), STEPS.length - 2)
  return `rgb(${STEPS[low].map((value, part) => Math.round(value + (STEPS[low + 1][part] - value) * (at - low))).join(' ')})`
}

/** @typedef {{ day: string, cells: (number | null)[] }} Day */

/** @param {number[]} times @param {(number | null)[]} values @param {string} zone @returns {Day[]} */
function days(times, values, zone) {
  /** @type {Map<string, Day>} */
  const byDay = new Map()
  times.forEach((millis, at) => {
    const local = time(millis, zone)
    const name = local.slice(0, 10)
    let day = byDay.get(name)
    if (!day) byDay.set(name, day = { day: name, cells: Array(COLUMNS).fill(null) })
    const column = Number(local.slice(11, 13)) * 4 + Math.floor(Number(local.slice(14, 16)) / 15)
    // The hour that is repeated at the end of summer time has both values.
    day.cells[column] = (day.cells[column] ?? 0) + (values[at] ?? 0)
  })
  return [...byDay.values()]
}

const clock = (/** @type {number} */ column) => `${String(Math.floor(column / 4)).padStart(2, '0')}:${String((column % 4) * 15).padStart(2, '0')}`

/** @param {{ times: number[], values: (number | null)[], zone: string, unit: string, title: string }} props */
export function HeatMap({ times, values, zone, unit, title }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null))
  const [pointed, point] = useState('')
  const [isOpen, setOpen] = useState(false)
  const rows = useMemo(() => days(times, values, zone), [times, values, zone])
  const all = rows.flatMap(row => row.cells).filter(value => value !== null)
  const low = all.reduce((least, value) => Math.min(least, value), 0)
  const high = all.reduce((most, value) => Math.max(most, value), 0)
  useLayoutEffect(() => {
    const context = canvas.current?.getContext('2d')
    if (!context) return
    context.clearRect(0, 0, COLUMNS, rows.length)
    rows.forEach(({ cells }, row) => cells.forEach((value, column) => {
      if (value === null) return
      context.fillStyle = shade((value - low) / (high - low || 1))
      context.fillRect(column, row, 1, 1)
    }))
  }, [rows, low, high])
  const follow = (/** @type {MouseEvent} */ event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect()
    const row = rows[Math.floor(((event.clientY - box.top) / box.height) * rows.length)]
    const column = Math.floor(((event.clientX - box.left) / box.width) * COLUMNS)
    if (row && column >= 0 && column < COLUMNS) point(`${row.day} ${clock(column)}: ${number(row.cells[column], 3)} ${unit}`)
  }
  const rowHeight = Math.min(Math.max(Math.floor(HEIGHT / rows.length), ROW_HEIGHT[0]), ROW_HEIGHT[1])
  if (rows.length === 0) return html`<p class="note">${t('noData')}</p>`
  return html`<figure class="heat">
    <div class="hours" aria-hidden="true">${[0, 6, 12, 18].map(hour => html`<span>${clock(hour * 4)}</span>`)}</div>
    <canvas ref=${canvas} width=${COLUMNS} height=${rows.length} class="cells" role="img" aria-label=${title}
      style=${{ height: `${rows.length * rowHeight}px` }} onMouseMove=${follow} onMouseLeave=${() => point('')}></canvas>
    <div class="legend"><span class="moment">${pointed || `${rows[0].day} – ${rows[rows.length - 1].day}`}</span>
      <span class="scale">${number(low)} <span class="ramp" aria-hidden="true"></span> ${number(high)} ${unit}</span></div>
    <details onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}><summary>${t('table')}: ${title}</summary>
      ${isOpen && html`<${Rows} caption=${title} header=${[t('day'), `${t('total')}, ${unit}`, `${t('peak')}, ${unit}`, t('peakTime')]} numeric=${1}
        rows=${rows.map(({ day, cells }) => {
          const most = cells.reduce((/** @type {number} */ best, value, column) => ((value ?? -Infinity) > (cells[best] ?? -Infinity) ? column : best), 0)
          return [day, number(cells.reduce((/** @type {number} */ total, value) => total + (value ?? 0), 0), 3), number(cells[most], 3), clock(most)]
        })} />`}
    </details></figure>`
}
