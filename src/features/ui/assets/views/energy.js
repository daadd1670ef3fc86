// Generation and consumption of meters, by interval and as a heat map.
import { load, useData } from '../api.js'
import { html, useMemo } from '../dom.js'
import { csv, number, time } from '../format.js'
import { HeatMap } from '../heatmap.js'
import { t } from '../language.js'
import { Choice, Curl, Download, Failure, Field, Panel, Zone } from '../parts.js'
import { Plot } from '../plot.js'
import { RangeFields, rangeOf, wholeFrom, zoom } from '../range.js'
import { conditions, findSeries, joined, sum } from '../series.js'
import { change } from '../url.js'

export const ENERGY_SPAN = 7 * 86_400_000
/** The longest heat map, and the part of it that one request loads, milliseconds. */
const HEAT_SPAN = 366 * 86_400_000
const HEAT_PART = 31 * 86_400_000
const REFRESH = 15_000
const KINDS = ['generation', 'consumption']

/** The request for the sums of both kinds.
 * @param {string} filter @param {string} bucket @param {string} tz @param {number} from @param {number} to */
function energyQuery(filter, bucket, tz, from, to) {
  return {
    filter: ['kind=(generation,consumption)', ...conditions(filter)],
    from, to: to - 1, agg: 'sum', bucket, tz, group_by: 'kind', reduce: 'sum',
  }
}

/** @typedef {{ times: number[], generation: (number | null)[], consumption: (number | null)[], net: (number | null)[], truncated: boolean }} Energy */

/** @param {any} answer @param {number} [shift] @returns {Energy} */
function energyOf(answer, shift = 0) {
  const of = (/** @type {string} */ kind) => answer.items.find((/** @type {any} */ item) => item.labels.kind === kind)?.samples ?? []
  const moved = KINDS.map(kind => of(kind).map((/** @type {any} */ sample) => ({ ...sample, timestamp: sample.timestamp + shift })))
  const { times, columns: [generation, consumption] } = joined(moved)
  const net = times.map((_, at) => (generation[at] ?? 0) - (consumption[at] ?? 0))
  return { times, generation, consumption, net, truncated: answer.items.some((/** @type {any} */ item) => item.truncated) }
}

/** @param {{ params: Record<string, string> }} props */
export function Energy({ params }) {
  const { filter = '', bucket = '1h', tz = 'Asia/Bangkok', compare = '', heat = 'generation' } = params
  const { span } = rangeOf(params, ENERGY_SPAN)
  const window = () => {
    const { from, to } = rangeOf(params, ENERGY_SPAN)
    return { from: wholeFrom(from, tz, bucket), to }
  }
  const keys = [filter, bucket, tz, params.span, params.to, compare]
  const shown = useData(async signal => {
    const { from, to } = window()
    const post = (/** @type {any} */ body) => load('/timeseries/query', { body, signal })
    const [answer, before] = await Promise.all([
      post(energyQuery(filter, bucket, tz, from, to)),
      compare ? post(energyQuery(filter, bucket, tz, from - span, to - span)) : null,
    ])
    return { energy: energyOf(answer), before: before && energyOf(before, span) }
  }, keys, params.to ? 0 : REFRESH)
  const heatMap = useData(async signal => {
    const { from, to } = rangeOf(params, ENERGY_SPAN)
    const start = wholeFrom(Math.max(from, to - HEAT_SPAN), tz, '1d')
    /** @type {Energy} */
    const all = { times: [], generation: [], consumption: [], net: [], truncated: false }
    // One after the other: a year of many meters would be too much for one request.
    for (let at = start; at < to; at += HEAT_PART) {
      const body = energyQuery(filter, '15m', tz, at, Math.min(at + HEAT_PART, to))
      const part = energyOf(await load('/timeseries/query', { body, signal }))
      for (const name of /** @type {const} */ (['generation', 'consumption', 'net'])) all[name] = all[name].concat(part[name])
      all.times = all.times.concat(part.times)
      all.truncated ||= part.truncated
    }
    return all
  }, [filter, tz, params.span, params.to], 0)
  const labels = useData(async signal => {
    const series = await findSeries('kind=(generation,consumption)', 200, signal)
    const pairs = series.flatMap(item => Object.entries(item.labels).filter(([name]) => name !== 'kind').map(pair => pair.join('=')))
    return [...new Set(pairs)].sort()
  }, [])
  const { data } = shown
  const drawn = useMemo(() => {
    if (!data) return { times: [], lines: [] }
    const { energy, before } = data
    const list = (/** @type {(number | null)[]} */ values, /** @type {Energy} */ of) => values.map((value, at) => ({ timestamp: of.times[at], value }))
    const below = energy.consumption.map(value => (value === null ? null : -value))
    const { times, columns } = joined([list(energy.generation, energy), list(below, energy), list(energy.net, energy),
      ...(before ? [list(before.net, before)] : [])])
    /** @type {import('../plot.js').Line['kind']} */
    const kind = energy.times.length > 200 ? 'area' : 'bars'
    return {
      times,
      lines: [
        { label: t('generation'), values: columns[0], color: 'c3', kind },
        { label: t('consumption'), values: columns[1], color: 'c4', kind },
        { label: t('net'), values: columns[2], color: 'c1' },
        ...(before ? [{ label: t('previousNet'), values: columns[3], color: 'c6', dash: [6, 3] }] : []),
      ],
    }
  }, [data, params.lang])
  const { from, to } = window()
  const energy = data?.energy
  const rows = () => (energy ? energy.times.map((at, row) =>
    [new Date(at).toISOString(), energy.generation[row], energy.consumption[row], energy.net[row]]) : [])
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <${Field} label=${t('filter')} name="filter" value=${filter} hint=${t('filterHint')} search=${true} list=${labels.data ?? []} />
      <${Choice} label=${t('bucket')} name="bucket" value=${bucket} options=${['15m', '1h', '1d', '1mo'].map(name => [name, name])} />
      <${Zone} value=${tz} />
      <${RangeFields} params=${params} fallback=${ENERGY_SPAN} zone=${tz} />
      <label class="check"><input type="checkbox" checked=${compare !== ''}
        onChange=${(/** @type {any} */ event) => change({ compare: event.target.checked ? '1' : '' })} /> ${t('compare')}</label>
    </form>
    <${Failure} error=${shown.error} />
    <div class="grid">
    <${Panel} title=${`${t('generation')}, ${t('consumption')}, kWh`} class="wide">
      ${energy?.truncated && html`<p class="failure">${t('truncated')}</p>`}
      <${Plot} title=${`${t('generation')}, ${t('consumption')}`} unit="kWh" times=${drawn.times} lines=${drawn.lines} zone=${tz} height=${300} zoom=${zoom} />
      <dl class="facts" aria-label=${t('totals')}>
        <div><dt>${t('generation')}</dt><dd id="total-generation">${number(energy && sum(energy.generation), 3)} kWh</dd></div>
        <div><dt>${t('consumption')}</dt><dd id="total-consumption">${number(energy && sum(energy.consumption), 3)} kWh</dd></div>
        <div><dt>${t('net')}</dt><dd>${number(energy && sum(energy.net), 3)} kWh</dd></div>
        ${data?.before && html`<div><dt>${t('previousNet')}</dt><dd>${number(sum(data.before.net), 3)} kWh</dd></div>`}
      </dl>
      <${Download} name=${`energy-${time(from, tz).slice(0, 10)}`} text=${() => csv(['time', 'generation_kwh', 'consumption_kwh', 'net_kwh'], rows())} />
      <${Curl} path="/timeseries/query" body=${energyQuery(filter, bucket, tz, from, to)} />
    </${Panel}>
    <${Panel} title=${t('heatMap')} class="wide">
      <div class="controls"><${Choice} label=${t('shows')} name="heat" value=${heat} options=${[...KINDS, 'net'].map(kind => [kind, t(/** @type {any} */ (kind))])} /></div>
      <${Failure} error=${heatMap.error} />
      ${heatMap.data?.truncated && html`<p class="failure">${t('truncated')}</p>`}
      ${heatMap.data && html`<${HeatMap} times=${heatMap.data.times} values=${/** @type {any} */ (heatMap.data)[heat] ?? heatMap.data.generation} zone=${tz} unit="kWh" title=${t('heatMap')} />`}
    </${Panel}></div>`
}
