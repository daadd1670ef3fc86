// Cached values, series and documents: a tree of their keys, and one value that may be changed.
import { ApiError, load, query, request, segment, useData } from '../api.js'
import { html, useState } from '../dom.js'
import { duration, number, size } from '../format.js'
import { t } from '../language.js'
import { useLive } from '../live.js'
import { Failure, Field, Panel, Rows } from '../parts.js'
import { address, change } from '../url.js'

/** The most keys of each kind that a branch is made of. */
const MAX_KEYS = 1_000
/** The longest value that is shown, characters. */
const MAX_SHOWN = 100_000

/** @typedef {{ key: string, kind: 'cache' | 'series', ttl: number | null, size: number | null }} Entry */

/** @param {string} prefix @param {AbortSignal} signal @returns {Promise<{ entries: Entry[], more: boolean, errors: any[] }>} */
async function entriesOf(prefix, signal) {
  const list = (/** @type {string} */ path) => load(`${path}${query({ prefix, limit: MAX_KEYS })}`, { signal })
  const [cached, series] = await Promise.allSettled([list('/cache'), list('/timeseries')])
  const pages = [cached, series].map(page => (page.status === 'fulfilled' ? page.value : { items: [], next_cursor: null }))
  return {
    entries: [
      ...pages[0].items.map((/** @type {any} */ item) => ({ key: item.key, kind: 'cache', ttl: item.ttl_ms ?? null, size: item.size })),
      ...pages[1].items.map((/** @type {any} */ item) => ({ key: item.key, kind: 'series', ttl: null, size: null })),
    ],
    more: pages.some(page => page.next_cursor !== null),
    // A caller may be permitted to read one of them.
    errors: [cached, series].flatMap(page => (page.status === 'rejected' ? [page.reason] : [])),
  }
}

/** The next parts of the keys below a prefix, split at colons.
 * @param {Entry[]} entries @param {string} prefix */
function branches(entries, prefix) {
  /** @type {Map<string, Entry[]>} */
  const folders = new Map()
  /** @type {Entry[]} */
  const leaves = []
  for (const entry of entries) {
    const colon = entry.key.indexOf(':', prefix.length)
    if (colon < 0) leaves.push(entry)
    else {
      const folder = entry.key.slice(0, colon + 1)
      folders.set(folder, [...(folders.get(folder) ?? []), entry])
    }
  }
  return { folders, leaves }
}

/** A value as it is stored, with its version. @param {string} kind @param {string} key @param {AbortSignal} signal */
async function valueOf(kind, key, signal) {
  const response = await request(`/${kind === 'document' ? 'json' : 'cache'}/${segment(key)}`, { signal, headers: { Accept: '*/*' } })
  const text = await response.text()
  const type = response.headers.get('content-type') ?? ''
  return { text, type, etag: response.headers.get('etag') ?? '' }
}

/** JSON with an indent; other texts as they are. @param {string} text */
function pretty(text) {
  if (text.length > MAX_SHOWN) return `${text.slice(0, MAX_SHOWN)}…`
  try {
    // Numbers beyond 2^53 would change.
    return /\d{16}/.test(text) ? text : JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** @param {{ kind: string, name: string, removed: () => void }} props */
function Value({ kind, name, removed }) {
  const { may } = useLive()
  const value = useData(signal => valueOf(kind, name, signal), [kind, name])
  const [draft, setDraft] = useState(/** @type {string | null} */ (null))
  const [said, say] = useState('')
  const [failure, fail] = useState(/** @type {any} */ (null))
  const [isAsking, setAsking] = useState(false)
  const { data } = value
  const isDocument = kind === 'document'
  const isWritable = may.includes(isDocument ? 'json:write' : 'cache:write')
  const path = `/${isDocument ? 'json' : 'cache'}/${segment(name)}`
  const write = async (/** @type {string} */ method, /** @type {string | undefined} */ body) => {
    fail(null)
    const keep = method === 'PUT' && !isDocument ? '?keep_ttl=true' : ''
    try {
      await request(path + keep, { method, body, headers: { 'If-Match': data?.etag ?? '', ...(body === undefined ? {} : { 'Content-Type': data?.type || 'application/json' }) } })
      say(t(method === 'PUT' ? 'saved' : 'deleted'))
      setDraft(null)
      if (method === 'PUT') value.again()
      else removed()
    } catch (error) {
      fail(error instanceof ApiError && error.status === 412 ? new Error(t('changed')) : error)
    }
  }
  const save = () => (isDocument && !isJson(draft ?? '') ? fail(new Error(t('notJson'))) : write('PUT', draft ?? ''))
  const isText = data && (isDocument || /json|text|xml/.test(data.type)) && data.text.length <= MAX_SHOWN
  return html`<${Panel} title=${name}>
    <${Failure} error=${value.error} /><${Failure} error=${failure} />
    <p class="note" role="status">${said}</p>
    ${data && html`<dl class="facts"><div><dt>${t('kind')}</dt><dd>${t(isDocument ? 'document' : 'cache')}</dd></div>
        <div><dt>${t('size')}</dt><dd>${size(new Blob([data.text]).size)}</dd></div><div><dt>ETag</dt><dd><code>${data.etag}</code></dd></div></dl>
      ${draft === null ? html`<pre id="value" tabindex="0">${pretty(data.text)}</pre>`
        : html`<label class="field wide"><span>${t('value')}</span><textarea id="draft" rows="12" spellcheck=${false}
            onInput=${(/** @type {any} */ event) => setDraft(event.target.value)}>${draft}</textarea></label>`}
      ${isWritable && html`<p class="buttons">
        ${draft !== null ? html`<button type="button" onClick=${save}>${t('save')}</button><button type="button" onClick=${() => setDraft(null)}>${t('cancel')}</button>`
          : isText && html`<button type="button" onClick=${() => setDraft(pretty(data.text))}>${t('edit')}</button>`}
        ${isAsking ? html`<span role="alert">${t('confirmDelete')} <code>${name}</code></span>
            <button type="button" class="danger" onClick=${() => { setAsking(false); write('DELETE', undefined) }}>${t('delete')}</button>
            <button type="button" onClick=${() => setAsking(false)}>${t('cancel')}</button>`
          : draft === null && html`<button type="button" onClick=${() => setAsking(true)}>${t('delete')}</button>`}
      </p>`}`}
  </${Panel}>`
}

/** @param {{ params: Record<string, string> }} props */
export function DataBrowser({ params }) {
  const { prefix = '', key = '', kind = 'cache' } = params
  const tree = useData(signal => entriesOf(prefix, signal), [prefix])
  const { folders, leaves } = branches(tree.data?.entries ?? [], prefix)
  const parts = prefix.split(':').filter(part => part !== '')
  const to = (/** @type {Record<string, string>} */ changes) => address('data', { ...params, key: '', kind: '', ...changes })
  const link = (/** @type {Entry} */ entry) => entry.kind === 'series' ? address('series', { key: entry.key, q: entry.key }) : to({ key: entry.key, kind: entry.kind })
  const openDocument = (/** @type {any} */ event) => {
    event.preventDefault()
    change({ key: event.target.elements.document.value, kind: 'document' })
  }
  const rows = [
    ...[...folders].map(([folder, inside]) => [html`<a href=${to({ prefix: folder })}>${folder.slice(prefix.length)}</a>`, '', number(inside.length), '', '']),
    ...leaves.map(entry => [html`<a href=${link(entry)}>${entry.key.slice(prefix.length) || entry.key}</a>`, t(entry.kind), '',
      entry.kind === 'series' ? '–' : entry.ttl === null ? t('forever') : duration(entry.ttl), size(entry.size)]),
  ]
  return html`<div class="controls">
      <${Field} label=${t('path')} name="prefix" value=${prefix} search=${true} />
      <form class="controls" onSubmit=${openDocument}><label class="field"><span>${t('openDocument')}</span><input name="document" required autocomplete="off" /></label>
        <button type="submit">${t('look')}</button></form>
    </div>
    <nav aria-label=${t('path')} class="crumbs"><a href=${to({ prefix: '' })}>${t('root')}</a>${parts.map((part, at) =>
      html` : <a href=${to({ prefix: `${parts.slice(0, at + 1).join(':')}:` })}>${part}</a>`)}</nav>
    ${tree.data?.errors.map(error => html`<${Failure} error=${error} />`)}<${Failure} error=${tree.error} />
    ${tree.data?.more && html`<p class="note">${t('truncated')}</p>`}
    <div class="split">
      <${Panel} title=${t('entries')}>
        <${Rows} caption=${t('entries')} rows=${rows} header=${[t('key'), t('kind'), t('entries'), t('ttl'), t('size')]} />
      </${Panel}>
      ${key && html`<${Value} key=${`${kind} ${key}`} kind=${kind} name=${key} removed=${() => { tree.again(); change({ key: '', kind: '' }) }} />`}
    </div>`
}
