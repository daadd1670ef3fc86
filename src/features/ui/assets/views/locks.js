// Held locks with their leases, and what the limiters decide.
import { load, segment, useData } from '../api.js'
import { html } from '../dom.js'
import { duration, number } from '../format.js'
import { t } from '../language.js'
import { Failure, Field, Panel, Rows } from '../parts.js'
import { change } from '../url.js'

const REFRESH = 2_000

/** @param {string} text @param {AbortSignal} signal */
async function heldLocks(text, signal) {
  const page = await load('/locks?limit=200', { signal })
  const waiting = page.items.reduce((/** @type {number} */ sum, /** @type {any} */ lock) => sum + lock.waiters, 0)
  return { locks: page.items.filter((/** @type {any} */ lock) => lock.resource.includes(text)), waiting, more: page.next_cursor !== null }
}

/** Looks at a limit without taking from it. @param {{ params: Record<string, string> }} props */
function TryKey({ params }) {
  const { limiter = '', key = '' } = params
  const limiters = useData(signal => load('/ratelimit/limiters', { signal }), [])
  const answer = useData(async signal => (limiter && key ? load(`/ratelimit/${segment(limiter)}/${segment(key)}`, { signal }) : null), [limiter, key])
  const submit = (/** @type {any} */ event) => {
    event.preventDefault()
    const { limiter: chosen, key: wanted } = event.target.elements
    if (chosen.value === limiter && wanted.value === key) answer.again()
    else change({ limiter: chosen.value, key: wanted.value })
  }
  const { data } = answer
  return html`<${Panel} title=${t('tryKey')}>
    <p class="note">${t('tryHint')}</p>
    <form class="controls" onSubmit=${submit}>
      <label class="field"><span>${t('limiter')}</span><select name="limiter">
        ${(limiters.data?.items ?? []).map((/** @type {any} */ { name }) => html`<option value=${name} selected=${name === limiter}>${name}</option>`)}</select></label>
      <label class="field"><span>${t('key')}</span><input name="key" value=${key} required autocomplete="off" /></label>
      <button type="submit">${t('look')}</button>
    </form>
    <${Failure} error=${answer.error} />
    ${data && html`<dl class="facts" id="peek" aria-live="polite">
      <div><dt>${t('allowed')}</dt><dd>${data.allowed ? t('yes') : t('no')}</dd></div>
      <div><dt>${t('limit')}</dt><dd>${number(data.limit)}</dd></div>
      <div><dt>${t('remaining')}</dt><dd>${number(data.remaining)}</dd></div>
      <div><dt>${t('resetsIn')}</dt><dd>${duration(data.reset_ms)}</dd></div></dl>`}
  </${Panel}>`
}

/** @param {{ params: Record<string, string> }} props */
export function Locks({ params }) {
  const { q = '' } = params
  const held = useData(signal => heldLocks(q, signal), [q], REFRESH)
  const stats = useData(signal => load('/locks/stats', { signal }), [], REFRESH)
  const limits = useData(signal => load('/ratelimit/stats', { signal }), [], REFRESH)
  const locks = held.data?.locks ?? []
  const longest = locks.reduce((/** @type {number} */ most, /** @type {any} */ lock) => Math.max(most, lock.remaining_ms ?? 0), 0) || 1
  const now = Date.now()
  const row = (/** @type {any} */ lock) => [
    lock.resource, lock.owner ?? '–',
    html`<span class="lease"><meter min="0" max=${longest} value=${lock.remaining_ms ?? longest} aria-label=${t('lease')}></meter>
      ${lock.remaining_ms === undefined ? t('forever') : duration(lock.remaining_ms)}</span>`,
    lock.acquired_at === undefined ? '–' : duration(Math.max(0, now - lock.acquired_at)),
    lock.fencing_token === undefined ? '–' : String(lock.fencing_token), number(lock.waiters),
    lock.waiting_since === undefined ? '–' : duration(Math.max(0, now - lock.waiting_since)),
  ]
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <${Field} label=${t('search')} name="q" value=${q} hint=${t('resource')} search=${true} /></form>
    <div class="grid">
    <${Panel} title=${t('locksPlot')} class="wide">
      <${Failure} error=${held.error ?? stats.error} />
      <dl class="facts"><div><dt>${t('held')}</dt><dd id="held">${number(stats.data?.held)}</dd></div>
        <div><dt>${t('waiting')}</dt><dd id="waiting">${held.data?.more ? '≥ ' : ''}${number(held.data?.waiting)}</dd></div></dl>
      ${held.data?.more && html`<p class="note">${t('truncated')}</p>`}
      ${locks.length === 0 ? html`<p class="note">${t('none')}</p>` : html`<${Rows} caption=${t('locksPlot')} rows=${locks.map(row)}
        header=${[t('resource'), t('owner'), t('lease'), t('longestHeld'), t('fencing'), t('waiters'), t('oldestWait')]} />`}
    </${Panel}>
    <${Panel} title=${t('limits')} class="wide">
      <${Failure} error=${limits.error} />
      <p class="note">${t('countedBy')} <b id="limits-by">${limits.data?.replica ?? '–'}</b></p>
      <${Rows} caption=${t('limits')} header=${[t('limiter'), t('strategy'), t('allowed'), t('refused'), t('near')]} numeric=${2}
        rows=${(limits.data?.limiters ?? []).map((/** @type {any} */ limiter) =>
          [limiter.limiter, limiter.strategy, number(limiter.allowed), number(limiter.refused), number(limiter.near)])} />
    </${Panel}>
    <${TryKey} params=${params} /></div>`
}
