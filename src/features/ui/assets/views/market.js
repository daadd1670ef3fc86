// Candles, trades, the order book and the epoch of a symbol.
import { ApiError, load, query, segment, useData } from '../api.js'
import { html, useEffect, useMemo, useState } from '../dom.js'
import { duration, number, timeOfDay } from '../format.js'
import { t } from '../language.js'
import { Choice, Curl, Failure, Panel, Rows } from '../parts.js'
import { color, Plot } from '../plot.js'
import { RangeFields, rangeOf, zoom } from '../range.js'
import { findSeries } from '../series.js'

export const MARKET_SPAN = 2 * 86_400_000
const RESOLUTIONS = ['1m', '5m', '15m', '30m', '1h', '4h', '1d']
/** The most candles of a page. */
const MAX_CANDLES = 1_000

/** @typedef {{ start: number, open: number, high: number, low: number, close: number, volume: number }} Candle */

/** Null for what does not exist. @template T @param {Promise<T>} promise @returns {Promise<T | null>} */
async function optional(promise) {
  try {
    return await promise
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null
    throw error
  }
}

/** The symbols with trades, and those with a series of prices. @param {AbortSignal} signal */
async function symbols(signal) {
  const [traded, priced] = await Promise.all([
    load('/udf/search?query=&limit=100', { signal }).catch(() => []),
    findSeries('kind=price', 100, signal).catch(() => []),
  ])
  const names = traded.map((/** @type {any} */ found) => found.symbol)
  const of = priced.map(series => series.labels.symbol).filter(name => name && !names.includes(name))
  return [...names.map((/** @type {string} */ name) => ({ name, traded: true })), ...of.map(name => ({ name, traded: false }))]
}

/** The request for candles: of trades, or else of the series of prices.
 * @param {string} symbol @param {boolean} traded @param {string} resolution @param {number} from @param {number} to */
function candlePath(symbol, traded, resolution, from, to) {
  if (traded) return `/market/candles/${segment(symbol)}${query({ resolution, from, to, limit: MAX_CANDLES })}`
  return `/market/prices/${segment(symbol)}${query({ agg: 'ohlcv', bucket: resolution, from, to, limit: MAX_CANDLES })}`
}

/** @param {any} answer @returns {Candle[]} */
function candlesOf(answer) {
  const numbers = (/** @type {any} */ candle) => ({
    start: candle.start ?? candle.timestamp,
    open: Number(candle.open), high: Number(candle.high), low: Number(candle.low), close: Number(candle.close),
    volume: Number(candle.volume ?? 0),
  })
  return (answer.items ?? answer.samples).map(numbers).sort((/** @type {Candle} */ a, /** @type {Candle} */ b) => a.start - b.start)
}

/** Draws bodies and wicks. A rise is filled and a fall is hollow, so that colours are not needed.
 * @param {any} plot @param {Candle[]} candles */
function drawCandles(plot, candles) {
  const { ctx } = plot
  const x = (/** @type {Candle} */ candle) => plot.valToPos(candle.start / 1000, 'x', true)
  const y = (/** @type {number} */ price) => plot.valToPos(price, 'y', true)
  const gap = candles.length > 1 ? Math.min(...candles.slice(1).map((candle, at) => x(candle) - x(candles[at]))) : 12
  const width = Math.max(3, Math.min(14, gap * 0.7))
  ctx.save()
  ctx.beginPath()
  ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height)
  ctx.clip()
  for (const candle of candles) {
    const isUp = candle.close >= candle.open
    const [left, top, bottom] = [x(candle) - width / 2, y(Math.max(candle.open, candle.close)), y(Math.min(candle.open, candle.close))]
    ctx.strokeStyle = ctx.fillStyle = color(isUp ? 'c3' : 'c4')
    ctx.lineWidth = 1
    ctx.beginPath()
    ctx.moveTo(x(candle), y(candle.high))
    ctx.lineTo(x(candle), top)
    ctx.moveTo(x(candle), bottom)
    ctx.lineTo(x(candle), y(candle.low))
    ctx.stroke()
    const height = Math.max(2, bottom - top)
    if (isUp || width < 4) ctx.fillRect(left, top, width, height)
    else ctx.strokeRect(left, top, width, height)
  }
  ctx.restore()
}

/** The room that prices need: unlike energy, they have no zero to show.
 * @param {Candle[]} candles @returns {[number, number]} */
function prices(candles) {
  if (candles.length === 0) return [0, 1]
  const low = candles.reduce((least, candle) => Math.min(least, candle.low), Infinity)
  const high = candles.reduce((most, candle) => Math.max(most, candle.high), -Infinity)
  const room = (high - low || high || 1) * 0.05
  // The volumes are below the prices.
  return [low - room - (high - low) * 0.25, high + room]
}

/** @param {{ book: any }} props */
function Ladder({ book }) {
  const levels = [...book.asks.slice(0, 10).reverse().map((/** @type {any} */ level) => ({ ...level, side: 'ask' })),
    ...book.bids.slice(0, 10).map((/** @type {any} */ level) => ({ ...level, side: 'bid' }))]
  const most = levels.reduce((best, level) => Math.max(best, Number(level.quantity)), 0) || 1
  const bar = (/** @type {any} */ level) => html`<meter class=${level.side} min="0" max=${most} value=${Number(level.quantity)} aria-label=${t('quantity')}></meter>`
  return html`<${Rows} caption=${t('depth')} header=${[t('side'), t('price'), t('quantity'), t('orders'), t('depth')]} numeric=${1}
    rows=${levels.map(level => [t(level.side), level.price, level.quantity, number(level.orders), bar(level)])} />`
}

function Epoch() {
  const epoch = useData(signal => optional(load('/market/epoch', { signal })), [], 5_000)
  const [now, setNow] = useState(Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(timer)
  }, [])
  const { data } = epoch
  return html`<${Panel} title=${t('epoch')}>
    <${Failure} error=${epoch.error} />
    ${data ? html`<dl class="facts"><div><dt>${t('epoch')}</dt><dd id="epoch">${data.epoch_number}</dd></div>
      <div><dt>${t('status')}</dt><dd>${data.status}</dd></div>
      <div><dt>${t('endsIn')}</dt><dd>${duration(Math.max(0, data.end - now))}</dd></div>
      <div><dt>${t('volume')}</dt><dd>${data.total_volume}</dd></div></dl>` : html`<p class="note">${t('none')}</p>`}
  </${Panel}>`
}

/** @param {{ params: Record<string, string> }} props */
export function Market({ params }) {
  const { resolution = '15m' } = params
  const known = useData(symbols, [], 30_000)
  const symbol = known.data?.find(({ name }) => name === params.symbol) ?? known.data?.[0]
  const name = symbol?.name ?? ''
  const path = () => {
    const { from, to } = rangeOf(params, MARKET_SPAN)
    return candlePath(name, symbol?.traded ?? false, resolution, from, to)
  }
  const candles = useData(async signal => (name ? candlesOf(await load(path(), { signal })) : []),
    [name, symbol?.traded, resolution, params.span, params.to], params.to ? 0 : 2_000)
  const stats = useData(async signal => (symbol?.traded ? optional(load(`/market/stats/${segment(name)}`, { signal })) : null), [name, symbol?.traded], 2_000)
  const book = useData(async signal => (name ? optional(load(`/orderbooks/${segment(name)}`, { signal })) : null), [name], 2_000)
  const trades = useData(async signal => (symbol?.traded ? load(`/market/trades/${segment(name)}?limit=20`, { signal }) : null), [name, symbol?.traded], 2_000)
  const all = candles.data ?? []
  const drawn = useMemo(() => {
    const column = (/** @type {(candle: Candle) => number} */ get) => all.map(get)
    return {
      times: column(candle => candle.start),
      lines: [
        { label: t('open'), values: column(candle => candle.open), color: 'text', kind: /** @type {const} */ ('unseen'), decimals: 4 },
        { label: t('high'), values: column(candle => candle.high), color: 'text', kind: /** @type {const} */ ('unseen'), decimals: 4 },
        { label: t('low'), values: column(candle => candle.low), color: 'text', kind: /** @type {const} */ ('unseen'), decimals: 4 },
        { label: t('close'), values: column(candle => candle.close), color: 'text', kind: /** @type {const} */ ('unseen'), decimals: 4 },
        { label: t('volume'), values: column(candle => candle.volume), color: 'c5', kind: /** @type {const} */ ('bars'), axis: 'volume' },
      ],
    }
  }, [candles.data, params.lang])
  const last = stats.data?.last ?? all.at(-1)?.close
  const options = (known.data ?? []).map(item => [item.name, item.name])
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <${Choice} label=${t('symbol')} name="symbol" value=${name} options=${options} />
      <${Choice} label=${t('resolution')} name="resolution" value=${resolution} options=${RESOLUTIONS.map(item => [item, item])} />
      <${RangeFields} params=${params} fallback=${MARKET_SPAN} />
    </form>
    ${known.data?.length === 0 && html`<p class="note">${t('noSymbols')}</p>`}
    <${Failure} error=${candles.error ?? known.error} />
    <div class="grid">
      <${Panel} title=${t('candles')} class="wide">
        <p class="price">${name} <b id="last-price">${last === undefined ? '–' : String(last)}</b>
          ${stats.data && html` <span>${t('change24')} ${stats.data.change_percent ?? '–'} %</span>`}</p>
        <${Plot} title=${t('candles')} times=${drawn.times} lines=${drawn.lines} height=${320} zoom=${zoom} range=${prices(all)}
          draw=${(/** @type {any} */ plot) => drawCandles(plot, all)} />
        ${name && html`<${Curl} path=${path()} />`}
      </${Panel}>
      <${Panel} title=${t('depth')}><${Failure} error=${book.error} />${book.data ? html`<${Ladder} book=${book.data} />` : html`<p class="note">${t('none')}</p>`}</${Panel}>
      <${Panel} title=${t('trades')}><${Failure} error=${trades.error} />
        ${trades.data?.items.length ? html`<${Rows} caption=${t('trades')} header=${[t('time'), t('side'), t('price'), t('quantity')]} numeric=${2}
          rows=${trades.data.items.map((/** @type {any} */ trade) => [timeOfDay(trade.timestamp), t(trade.side), trade.price, trade.quantity])} />` : html`<p class="note">${t('none')}</p>`}</${Panel}>
      <${Epoch} />
    </div>`
}
