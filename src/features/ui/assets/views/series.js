// Any series, found by its key or its labels, with an aggregation.
import { load, query, segment, useData } from '../api.js'
import { html, useMemo } from '../dom.js'
import { csv, number } from '../format.js'
import { t } from '../language.js'
import { Choice, Curl, Download, Failure, Field, Panel, Zone } from '../parts.js'
import { Plot } from '../plot.js'
import { RangeFields, rangeOf, zoom } from '../range.js'
import { findSeries } from '../series.js'
import { address } from '../url.js'

export const SERIES_SPAN = 86_400_000
const REFRESH = 15_000
const AGGREGATIONS = ['avg', 'sum', 'min', 'max', 'count', 'first', 'last', 'median', 'p95', 'range', 'std_p', 'twa', 'increase', 'rate']
const BUCKETS = ['1m', '5m', '15m', '1h', '6h', '1d', '1w', '1mo']
const FILLS = ['null', 'previous', 'linear']

/** @param {{ params: Record<string, string> }} props */
export function SeriesExplorer({ params }) {
  const { q = '', key = '', agg = 'avg', bucket = '15m', fill = '', tz = 'Asia/Bangkok' } = params
  const found = useData(signal => findSeries(q, 100, signal), [q])
  const path = () => {
    const { from, to } = rangeOf(params, SERIES_SPAN)
    /** @type {Record<string, string>} */
    const aggregated = agg === 'raw' ? {} : { agg, bucket, fill, tz }
    return `/timeseries/${segment(key)}/range${query({ from, to, limit: 10_000, ...aggregated })}`
  }
  const range = useData(async signal => (key ? load(path(), { signal }) : null),
    [key, agg, bucket, fill, tz, params.span, params.to], params.to ? 0 : REFRESH)
  const samples = range.data?.samples
  const drawn = useMemo(() => ({
    times: (samples ?? []).map((/** @type {any} */ sample) => sample.timestamp),
    lines: [{ label: key, values: (samples ?? []).map((/** @type {any} */ sample) => sample.value), color: 'c1', decimals: 6 }],
  }), [samples, key])
  const open = (/** @type {string} */ name) => address('series', { ...params, key: name })
  const pairs = (/** @type {Record<string, string>} */ labels) => Object.entries(labels).map(pair => pair.join('=')).join(' ')
  const options = (/** @type {string[]} */ names) => names.map(name => [name, name])
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <${Field} label=${t('search')} name="q" value=${q} hint=${t('searchKeys')} search=${true} />
      <${Choice} label=${t('aggregation')} name="agg" value=${agg} options=${[['raw', t('raw')], ...options(AGGREGATIONS)]} />
      <${Choice} label=${t('bucket')} name="bucket" value=${bucket} options=${options(BUCKETS)} />
      <${Choice} label=${t('fill')} name="fill" value=${fill} options=${[['', t('omit')], ...options(FILLS)]} />
      <${Zone} value=${tz} />
      <${RangeFields} params=${params} fallback=${SERIES_SPAN} zone=${tz} />
    </form>
    <div class="split">
      <${Panel} title=${t('series')}>
        <${Failure} error=${found.error} />
        ${found.data?.length === 0 && html`<p class="note">${t('none')}</p>`}
        <ul class="list">${(found.data ?? []).map(item => html`<li><a href=${open(item.key)} aria-current=${item.key === key ? 'true' : undefined}>${item.key}</a>
          <small>${pairs(item.labels)}</small></li>`)}</ul>
      </${Panel}>
      ${key && html`<${Panel} title=${key}>
        <${Failure} error=${range.error} />
        ${range.data?.next_cursor && html`<p class="failure">${t('truncated')}</p>`}
        <${Plot} title=${key} times=${drawn.times} lines=${drawn.lines} zone=${tz} height=${280} zoom=${zoom} />
        <p class="note">${t('entries')}: <span id="point-count">${number(samples?.length)}</span></p>
        <${Download} name=${key.replaceAll(/[^\w.-]/g, '_')} text=${() => csv(['timestamp', 'value'], (samples ?? []).map((/** @type {any} */ sample) => [sample.timestamp, sample.value]))} />
        <${Curl} path=${path()} />
      </${Panel}>`}
    </div>`
}
