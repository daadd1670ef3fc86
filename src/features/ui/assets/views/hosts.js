// Hosts: their newest values, compared with what is usual, and one host with its forecast.
import { load, query, segment, useData } from '../api.js'
import { html, useMemo } from '../dom.js'
import { number, time, timeOfDay } from '../format.js'
import { t } from '../language.js'
import { Choice, Failure, Field, Panel, Rows } from '../parts.js'
import { Plot } from '../plot.js'
import { RangeFields, rangeOf, zoom } from '../range.js'
import { joined } from '../series.js'
import { address } from '../url.js'

export const HOSTS_SPAN = 86_400_000
const FIELDS = ['cpu.usage', 'memory.usagePercent', 'disk.usagePercent', 'cpu.loadAvg.1']
/** The most hosts with a sparkline: each needs two requests. */
const MAX_SPARKS = 24
const POINTS = 60

/** The value of a field such as `cpu.loadAvg.1`. @param {any} sample @param {string} field @returns {number | null} */
function valueOf(sample, field) {
  if (field === 'cpu.loadAvg.1') return sample.cpu?.loadAvg?.[0] ?? null
  const [part, name] = field.split('.')
  return sample[part]?.[name] ?? null
}

/** @param {string} verdict */
const words = verdict => t(/** @type {any} */ ({ usual: 'usual', high: 'tooHigh', low: 'tooLow' })[verdict] ?? 'not_enough_history')

/** @param {{ values: (number | null)[], verdict: string, label: string }} props */
function Sparkline({ values, verdict, label }) {
  const known = values.filter(value => value !== null)
  if (known.length === 0) return '–'
  const [low, high] = [Math.min(...known), Math.max(...known)]
  // One value is a line, too.
  const drawn = values.length === 1 ? [values[0], values[0]] : values
  const points = drawn.map((value, at) => value === null ? '' :
    `${((at / Math.max(1, drawn.length - 1)) * 100).toFixed(1)},${(22 - ((value - low) / (high - low || 1)) * 20).toFixed(1)}`)
  return html`<svg class=${`spark ${verdict}`} viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${label}>
    <polyline points=${points.join(' ').trim()} /></svg>`
}

/** @param {{ item: any, field: string, recent: any[], verdict: string }} detail */
function spark({ item, field, recent, verdict }) {
  const values = recent.map((/** @type {any} */ sample) => valueOf(sample, field)).reverse()
  return html`<${Sparkline} values=${values} verdict=${verdict} label=${`${item.host}, ${t('lastHour')}: ${words(verdict)}`} />`
}

/** @param {{ params: Record<string, string> }} props */
function HostList({ params }) {
  const { q = '', field = 'cpu.usage' } = params
  const hosts = useData(async signal => {
    const { items } = await load('/hosts/metrics/latest?limit=1000', { signal })
    const shown = items.filter((/** @type {any} */ item) => item.host.includes(q))
    const details = await Promise.all(shown.slice(0, MAX_SPARKS).map(async (/** @type {any} */ item) => {
      const of = `/hosts/${segment(item.host)}/metrics`
      const [recent, anomaly] = await Promise.all([
        load(`${of}/recent?count=${POINTS}`, { signal }), load(`${of}/anomaly${query({ field })}`, { signal }),
      ])
      return { item, field, recent: recent.metrics, verdict: anomaly.verdict }
    }))
    return { shown, details }
  }, [q, field], 10_000)
  const rows = (hosts.data?.shown ?? []).map((/** @type {any} */ item, /** @type {number} */ at) => {
    const detail = hosts.data?.details[at]
    const { metrics } = item
    return [
      html`<a href=${address('hosts', { ...params, host: item.host })}>${item.host}</a>`,
      number(metrics.cpu?.usage, 1), number(metrics.memory?.usagePercent, 1), number(metrics.disk?.usagePercent, 1),
      detail ? spark(detail) : '–', detail ? html`<span class=${`verdict ${detail.verdict}`}>${words(detail.verdict)}</span>` : '–',
      timeOfDay(metrics.timestamp),
    ]
  })
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <${Field} label=${t('search')} name="q" value=${q} hint=${t('host')} search=${true} />
      <${Choice} label=${t('field')} name="field" value=${field} options=${FIELDS.map(name => [name, name])} /></form>
    <${Failure} error=${hosts.error} />
    <${Panel} title=${t('hosts')}>
      ${hosts.data && rows.length === 0 ? html`<p class="note">${t('noHosts')}</p>` : html`<${Rows} caption=${t('hosts')} rows=${rows}
        header=${[t('host'), t('cpu'), t('memoryShare'), t('disk'), `${field}, ${t('lastHour')}`, t('verdict'), t('lastSeen')]} />`}
    </${Panel}>`
}

/** @param {{ params: Record<string, string> }} props */
function OneHost({ params }) {
  const { host, field = 'cpu.usage' } = params
  const of = `/hosts/${segment(host)}/metrics`
  const detail = useData(async signal => {
    const { from, to } = rangeOf(params, HOSTS_SPAN)
    const [range, anomaly, forecast] = await Promise.all([
      load(`${of}/range${query({ startTime: from, endTime: to, limit: 10_000 })}`, { signal }),
      load(`${of}/anomaly${query({ field })}`, { signal }),
      // A build may lack forecasts.
      load(`${of}/forecast${query({ field })}`, { signal }).catch(() => ({ forecast: [] })),
    ])
    return { range, anomaly, forecast: forecast.forecast }
  }, [host, field, params.span, params.to], params.to ? 0 : 10_000)
  const { data } = detail
  const drawn = useMemo(() => {
    if (!data) return { times: [], lines: [] }
    const measured = data.range.metrics.map((/** @type {any} */ sample) => ({ timestamp: sample.timestamp, value: valueOf(sample, field) }))
    const of = (/** @type {string} */ part) => data.forecast.map((/** @type {any} */ hour) => ({ timestamp: hour.start, value: hour[part] }))
    const band = data.anomaly.band
    const level = (/** @type {number | undefined} */ value) => (band ? measured.map((/** @type {any} */ sample) => ({ timestamp: sample.timestamp, value })) : [])
    const { times, columns } = joined([measured, of('avg'), of('lower'), of('upper'), level(band?.lower), level(band?.upper)])
    const lines = [
      { label: t('measured'), values: columns[0], color: 'c1' },
      ...(data.forecast.length > 0 ? [
        { label: t('forecast'), values: columns[1], color: 'c2', dash: [6, 3] },
        { label: `${t('interval95')}: ${t('lower')}`, values: columns[2], color: 'c2', dash: [2, 3] },
        { label: `${t('interval95')}: ${t('upper')}`, values: columns[3], color: 'c2', dash: [2, 3] }] : []),
      ...(band ? [
        { label: t('usualLower'), values: columns[4], color: 'c3', dash: [8, 3, 2, 3] },
        { label: t('usualUpper'), values: columns[5], color: 'c3', dash: [8, 3, 2, 3] }] : []),
    ]
    return { times, lines }
  }, [data, field, params.lang])
  const verdict = data?.anomaly.verdict
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <a class="button" href=${address('hosts', { ...params, host: '' })}>${t('back')}</a>
      <${Choice} label=${t('field')} name="field" value=${field} options=${FIELDS.map(name => [name, name])} />
      <${RangeFields} params=${params} fallback=${HOSTS_SPAN} /></form>
    <${Failure} error=${detail.error} />
    <${Panel} title=${host}>
      ${data && html`<dl class="facts"><div><dt>${field}</dt><dd>${number(data.anomaly.value)}</dd></div>
        <div><dt>${t('verdict')}</dt><dd><span class=${`verdict ${verdict}`}>${words(verdict)}</span></dd></div>
        <div><dt>${t('lastSeen')}</dt><dd>${time(data.anomaly.timestamp)}</dd></div></dl>`}
      <${Plot} title=${field} times=${drawn.times} lines=${drawn.lines} height=${280} zoom=${zoom} />
      ${data?.forecast.length === 0 && html`<p class="note">${t('forecastHistory')}</p>`}
    </${Panel}>`
}

/** @param {{ params: Record<string, string> }} props */
export function Hosts({ params }) {
  return params.host ? html`<${OneHost} params=${params} />` : html`<${HostList} params=${params} />`
}
