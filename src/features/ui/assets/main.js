// The frame of the page: navigation, keys, themes, the dialog for a credential, and the current view.
import { askWith, pause } from './api.js'
import { html, render, useEffect, useRef, useState } from './dom.js'
import { language, t } from './language.js'
import { pauseLive, start, useLive } from './live.js'
import { shift } from './range.js'
import { address, change, usePlace } from './url.js'
import { DataBrowser } from './views/data.js'
import { Energy, ENERGY_SPAN } from './views/energy.js'
import { Hosts, HOSTS_SPAN } from './views/hosts.js'
import { Locks } from './views/locks.js'
import { Market, MARKET_SPAN } from './views/market.js'
import { Overview } from './views/overview.js'
import { Problems } from './views/problems.js'
import { SeriesExplorer, SERIES_SPAN } from './views/series.js'

/** @type {Record<string, { label: import('./language.js').Label, view: any, span?: number }>} */
const VIEWS = {
  overview: { label: 'overview', view: Overview },
  energy: { label: 'energy', view: Energy, span: ENERGY_SPAN },
  market: { label: 'market', view: Market, span: MARKET_SPAN },
  locks: { label: 'locks', view: Locks },
  hosts: { label: 'hosts', view: Hosts, span: HOSTS_SPAN },
  series: { label: 'series', view: SeriesExplorer, span: SERIES_SPAN },
  data: { label: 'data', view: DataBrowser },
  problems: { label: 'problems', view: Problems },
}

/** @type {(() => void) | null} */
let opened = null
/** @type {(credential: string) => void} */
let answer = () => {}

/** Asks for the credential in a dialog, and never stores it. */
function CredentialDialog() {
  const dialog = useRef(/** @type {any} */ (null))
  useEffect(() => {
    opened = () => {
      if (!dialog.current.open) dialog.current.showModal()
    }
    askWith(() => new Promise(resolve => {
      answer = resolve
      opened?.()
    }))
    start()
  }, [])
  const submit = (/** @type {any} */ event) => {
    event.preventDefault()
    const field = event.target.elements.credential
    dialog.current.close()
    answer(field.value.trim())
    field.value = ''
  }
  return html`<dialog ref=${dialog} aria-labelledby="credential-title" onCancel=${(/** @type {any} */ event) => event.preventDefault()}>
    <form onSubmit=${submit}>
      <h2 id="credential-title">${t('credentialNeeded')}</h2>
      <label class="field"><span>${t('credential')}</span>
        <input name="credential" type="password" autocomplete="off" required autofocus /></label>
      <p class="note">${t('credentialHint')}</p>
      <button type="submit">${t('send')}</button>
    </form></dialog>`
}

function StatusLine() {
  const live = useLive()
  const last = live.frames.at(-1)
  const status = live.connected && last ? last.status : 'unknown'
  const label = /** @type {any} */ ({ ok: 'ok', degraded: 'degraded', unavailable: 'unavailable', draining: 'draining' })[status] ?? 'unknown'
  const state = live.paused ? t('paused') : live.connected ? t('live') : t('reconnecting')
  return html`<p class="state" role="status" aria-live="polite"><span class=${`badge ${status}`} id="status">${t(label)}</span>
    <span id="connection">${state}</span></p>`
}

function App() {
  const { view, params } = usePlace()
  const [isPaused, setPaused] = useState(false)
  const [theme, setTheme] = useState(matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark')
  const main = useRef(/** @type {HTMLElement | null} */ (null))
  const shown = VIEWS[view] ?? VIEWS.overview
  const wanted = params.theme === 'light' || params.theme === 'dark' ? params.theme : theme
  document.documentElement.dataset.theme = wanted
  document.documentElement.lang = language()
  document.title = `${t(shown.label)} – GridTokenX Redis`
  const togglePause = () => {
    pause(!isPaused)
    pauseLive(!isPaused)
    setPaused(!isPaused)
  }
  useEffect(() => {
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target)
      if (event.ctrlKey || event.metaKey || event.altKey || target.matches('input, select, textarea')) return
      if (event.key === '/') {
        const field = /** @type {HTMLInputElement | null} */ (document.querySelector('input.search'))
        if (field) field.focus()
        else location.hash = address('series', {})
        event.preventDefault()
      } else if (event.key === 'l') togglePause()
      else if ((event.key === '[' || event.key === ']') && shown.span) shift(event.key === '[' ? -1 : 1, shown.span)
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  })
  const kept = { lang: params.lang ?? '', theme: params.theme ?? '' }
  const switchTheme = () => {
    setTheme(wanted === 'dark' ? 'light' : 'dark')
    change({ theme: wanted === 'dark' ? 'light' : 'dark' })
  }
  const skip = (/** @type {any} */ event) => {
    event.preventDefault()
    main.current?.focus()
  }
  return html`<a class="skip" href="#main" onClick=${skip}>${t('skip')}</a>
    <header>
      <h1>GridTokenX Redis</h1>
      <${StatusLine} />
      <span class="buttons">
        <button type="button" aria-pressed=${isPaused} onClick=${togglePause} title="l">${isPaused ? t('resume') : t('pause')}</button>
        <button type="button" onClick=${switchTheme}>${t('theme')}</button>
        <button type="button" lang=${language() === 'th' ? 'en' : 'th'}
          onClick=${() => change({ lang: language() === 'th' ? 'en' : 'th' })}>${t('language')}</button>
      </span>
      <nav aria-label=${t('views')}>${Object.entries(VIEWS).map(([name, { label }]) =>
        html`<a href=${address(name, kept)} aria-current=${VIEWS[name] === shown ? 'page' : undefined}>${t(label)}</a>`)}</nav>
    </header>
    <main id="main" tabindex="-1" ref=${main} key=${view}><${shown.view} params=${params} /></main>
    <footer><p>${t('keys')}</p><p><a href="/swagger-ui/">API</a></p></footer>
    <${CredentialDialog} />`
}

const root = document.getElementById('page')
if (root) render(html`<${App} />`, root)
