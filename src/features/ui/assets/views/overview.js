// The state of the service and of its Redis servers, and ten minutes of live numbers.
import { request, send, useData } from '../api.js'
import { html, useEffect, useMemo, useState } from '../dom.js'
import { follow } from '../events.js'
import { duration, number, size, timeOfDay } from '../format.js'
import { language, t } from '../language.js'
import { useLive } from '../live.js'
import { Failure, Panel, Rows } from '../parts.js'
import { Plot } from '../plot.js'
import { samplesOf } from '../prometheus.js'

/** @typedef {import('../live.js').Frame} Frame */

const COLORS = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6']
const DASHES = [undefined, [6, 3], [2, 3], [8, 3, 2, 3]]

/** The alerts that begin and end while the view is open, and those that fire already. */
function useAlerts() {
  const [alerts, set] = useState(/** @type {any[]} */ ([]))
  // A caller without the scope sees the other events.
  useEffect(() => follow('/alerts/events', (name, data) => {
    if (name === 'alerts') set(JSON.parse(data))
    else if (name === 'alert') set(known => [...known, JSON.parse(data)].slice(-50))
  }, () => {}), [])
  return alerts
}

/** @param {{ frames: Frame[] }} props */
function Events({ frames }) {
  const alerts = useAlerts()
  const happened = frames.flatMap(frame => frame.events.map(event => ({ time: frame.time, label: t(/** @type {any} */ (event)), text: '', kind: event })))
  const told = alerts.map(alert => ({
    time: alert.ended ?? alert.since, label: t('alert'), text: `${alert.condition} ${alert.status}: ${alert.summary}`,
    kind: alert.status,
  }))
  const all = [...happened, ...told].sort((a, b) => b.time - a.time).slice(0, 12)
  return html`<${Panel} title=${t('events')} class="wide">
    ${all.length === 0 ? html`<p class="note">${t('noEvents')}</p>`
      : html`<ol class="events">${all.map(event => html`<li class=${event.kind}>
          <time>${timeOfDay(event.time)}</time> ${event.label} ${event.text}</li>`)}</ol>`}
  </${Panel}>`
}

/** @param {Frame[]} frames */
function plots(frames) {
  const column = (/** @type {(frame: Frame) => number | null} */ get) => frames.map(get)
  const limiters = [...new Set(frames.flatMap(frame => Object.keys(frame.refused)))].slice(0, 6)
  const line = (/** @type {string} */ label, /** @type {(frame: Frame) => number | null} */ get, /** @type {any} */ more = {}) =>
    ({ label, values: column(get), color: 'c1', ...more })
  return [
    { title: t('requests'), unit: '1/s', lines: [line(t('requests'), frame => frame.requests, { kind: 'area' })] },
    { title: t('latency'), unit: 'ms', lines: [line('p50', frame => frame.p50_ms, { bridged: true }), line('p99', frame => frame.p99_ms, { color: 'c2', dash: [6, 3], bridged: true })] },
    { title: t('errors'), unit: '1/s', lines: [line(t('errors'), frame => frame.errors, { color: 'c4', kind: 'area' })] },
    { title: t('hitRate'), unit: '%', range: /** @type {[number, number]} */ ([0, 100]),
      lines: [line(t('hitRate'), frame => frame.hit_rate === null ? null : frame.hit_rate * 100, { color: 'c3', bridged: true })] },
    { title: t('locksPlot'), lines: [line(t('held'), frame => frame.locks_held), line(t('waiting'), frame => frame.locks_waiting, { color: 'c2', dash: [6, 3] })] },
    { title: t('refusals'), unit: '1/s', lines: limiters.length === 0 ? [line(t('refusals'), () => 0)]
      : limiters.map((limiter, at) => line(limiter, frame => frame.refused[limiter] ?? 0, { color: COLORS[at], dash: DASHES[at % 4] })) },
    { title: t('samples'), unit: '1/s', lines: [line(t('samples'), frame => frame.samples, { color: 'c3', kind: 'area' })] },
    { title: t('redisLatency'), unit: 'ms', lines: [line('p99', frame => frame.redis_p99_ms, { color: 'c6', bridged: true })] },
  ]
}

function Servers() {
  const ready = useData(signal => readiness(signal), [], 2_000)
  const servers = useData(async signal => samplesOf(await (await request('/metrics/redis', { signal, headers: { Accept: 'text/plain' } })).text()), [], 5_000)
  const of = (/** @type {string} */ name, /** @type {string} */ store) => servers.data?.find(sample => sample.name === name && sample.labels.store === store)
  const rows = (ready.data?.redis ?? []).map((/** @type {any} */ server) => {
    const store = server.roles.join(',')
    const used = of('redis_memory_used_bytes', store)?.value
    const max = of('redis_memory_max_bytes', store)?.value
    const info = of('redis_instance_info', store)?.labels
    return [
      server.roles.join(', '), server.address ?? '–', server.version ?? '–', server.connected ? t('yes') : t('no'),
      used === undefined ? '–' : max ? `${size(used)} / ${size(max)}` : size(used), server.persistence ?? '–',
      info?.role ?? '–', number(of('redis_connected_slaves', store)?.value),
    ]
  })
  return html`<${Panel} title="Redis" class="wide">
    <${Failure} error=${servers.error} />
    <${Rows} caption="Redis" rows=${rows} header=${[t('roles'), t('address'), t('version'), t('connected'), t('memory'),
      t('persistence'), t('replication'), t('replicas')]} />
  </${Panel}>`
}

/** The report of readiness, which is also the body of a 503. @param {AbortSignal} signal */
async function readiness(signal) {
  return (await send('/health/ready', { signal })).json()
}

export function Overview() {
  const live = useLive()
  const { frames, replica } = live
  const last = frames.at(-1)
  const times = useMemo(() => frames.map(frame => frame.time), [last?.time, frames.length])
  const shown = useMemo(() => plots(frames), [last?.time, frames.length, language()])
  const reasons = last?.reasons ?? []
  return html`<div class="grid">
    <${Panel} title=${t('status')} class="wide">
      <${Failure} error=${live.error} />
      <dl class="facts">
        <div><dt>${t('replica')}</dt><dd id="replica">${replica?.name ?? '–'}</dd></div>
        <div><dt>${t('version')}</dt><dd id="version">${replica?.version ?? '–'}</dd></div>
        <div><dt>${t('uptime')}</dt><dd>${duration(replica && last ? last.time - replica.started : null)}</dd></div>
        <div><dt>${t('locksHeld')}</dt><dd id="locks-held">${number(last?.locks_held)}</dd></div>
        <div><dt>${t('locksWaiting')}</dt><dd>${number(last?.locks_waiting)}</dd></div>
      </dl>
      <p class="note">${t('ofReplica')}</p>
      ${reasons.length > 0 && html`<h3>${t('reasons')}</h3><ul id="reasons" role="alert">${reasons.map(reason => html`<li>${reason}</li>`)}</ul>`}
    </${Panel}>
    <${Servers} />
    <${Events} frames=${frames} />
    ${shown.map(plot => html`<${Panel} title=${plot.title} class="small"><${Plot} ...${plot} times=${times} group="overview" seconds=${true} caption=${true} height=${130} /></${Panel}>`)}
  </div>`
}
