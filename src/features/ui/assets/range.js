// The range of time of a view: a length and an end, which is the present unless the reader has moved it.
import { html } from './dom.js'
import { time } from './format.js'
import { t } from './language.js'
import { Choice } from './parts.js'
import { change, place } from './url.js'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** @typedef {{ from: number, to: number, span: number }} Range */

/** @type {[string, number][]} */
const SPANS = [['1h', HOUR], ['6h', 6 * HOUR], ['1d', DAY], ['2d', 2 * DAY], ['7d', 7 * DAY], ['30d', 30 * DAY], ['90d', 90 * DAY], ['365d', 365 * DAY]]

/** The range that the address names, or the last `fallback` milliseconds.
 * @param {Record<string, string>} params @param {number} fallback @returns {Range} */
export function rangeOf(params, fallback) {
  const span = Number(params.span) > 0 ? Number(params.span) : fallback
  const to = Number(params.to) > 0 ? Number(params.to) : Date.now()
  return { from: to - span, to, span }
}

/** Shows a part of a plot. @param {number} from @param {number} to */
export function zoom(from, to) {
  if (to > from) change({ span: String(to - from), to: String(to) })
}

/** Moves the range of the current view by its own length.
 * @param {number} direction @param {number} fallback */
export function shift(direction, fallback) {
  const { from, to, span } = rangeOf(place().params, fallback)
  const end = direction < 0 ? from : to + span
  // Some time has passed since the range was moved back.
  const isPresent = end >= Date.now() - span / 50
  change({ span: String(span), to: isPresent ? '' : String(end) })
}

/** The start of the local day, hour or month that contains a time, so that the first interval is whole.
 * @param {number} from @param {string} zone @param {string} bucket */
export function wholeFrom(from, zone, bucket) {
  const local = time(from, zone)
  const minutes = Number(local.slice(11, 13)) * 60 + Number(local.slice(14, 16))
  const ofMinute = from % 60_000
  if (bucket === '15m') return from - ofMinute - (minutes % 15) * 60_000
  if (bucket === '1h') return from - ofMinute - (minutes % 60) * 60_000
  const midnight = from - ofMinute - minutes * 60_000
  return bucket === '1mo' ? midnight - (Number(local.slice(8, 10)) - 1) * DAY : midnight
}

/** @param {{ params: Record<string, string>, fallback: number, zone?: string }} props */
export function RangeFields({ params, fallback, zone }) {
  const { from, to, span } = rangeOf(params, fallback)
  const known = SPANS.map(([name, millis]) => /** @type {[string, string]} */ ([String(millis), name]))
  const isKnown = known.some(([millis]) => millis === String(span))
  const options = isKnown ? known : [...known, /** @type {[string, string]} */ ([String(span), t('custom')])]
  return html`<${Choice} label=${t('range')} name="span" value=${String(span)} options=${options} also=${{ to: '' }} />
    <div class="field"><span>${time(from, zone)} – ${time(to, zone)}</span><span class="buttons">
      <button type="button" onClick=${() => shift(-1, fallback)} aria-label=${t('earlier')} title="[">◀</button>
      <button type="button" onClick=${() => change({ to: '' })} disabled=${!params.to}>${t('now')}</button>
      <button type="button" onClick=${() => shift(1, fallback)} disabled=${!params.to} aria-label=${t('later')} title="]">▶</button>
    </span></div>`
}
