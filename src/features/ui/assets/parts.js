// Small parts that several views use.
import { ApiError } from './api.js'
import { html, useState } from './dom.js'
import { isZone } from './format.js'
import { t } from './language.js'
import { change } from './url.js'

/** A table. Cells are texts or elements; those from the column `numeric` on are numbers.
 * @param {{ caption: string, header: string[], rows: any[][], numeric?: number }} props */
export function Rows({ caption, header, rows, numeric = Infinity }) {
  const kind = (/** @type {number} */ at) => (at >= numeric ? 'number' : '')
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="hidden">${caption}</caption>
      <thead><tr>${header.map((name, at) => html`<th scope="col" class=${kind(at)}>${name}</th>`)}</tr></thead>
      <tbody>${rows.map(row => html`<tr>${row.map((cell, at) =>
        at === 0 ? html`<th scope="row">${cell}</th>` : html`<td class=${kind(at)}>${cell}</td>`)}</tr>`)}</tbody>
    </table>
  </div>`
}

/** Why data are not here, if they are not. @param {{ error: any }} props */
export function Failure({ error }) {
  if (!error) return null
  const isForbidden = error instanceof ApiError && error.status === 403
  return html`<p class="failure" role="alert">${isForbidden && `${t('forbidden')} `}${String(error.message ?? error)}</p>`
}

/** A panel with a heading. @param {{ title: string, children?: any, class?: string }} props */
export function Panel({ title, children, class: name = '' }) {
  return html`<section class=${`panel ${name}`}><h2>${title}</h2>${children}</section>`
}

/** A field of the view's state in the address.
 * @param {{ label: string, name: string, value: string, hint?: string, search?: boolean, list?: string[], check?: (text: string) => string }} props */
export function Field({ label, name, value, hint, search, list, check }) {
  const [complaint, complain] = useState('')
  const take = (/** @type {string} */ text) => {
    const found = check?.(text) ?? ''
    complain(found)
    if (!found) change({ [name]: text.trim() })
  }
  return html`<label class="field"><span>${label}</span>
    <input name=${name} value=${value} class=${search ? 'search' : ''} title=${hint} placeholder=${hint}
      list=${list && `${name}-list`} autocomplete="off" spellcheck=${false} aria-invalid=${complaint ? 'true' : 'false'}
      onChange=${(/** @type {any} */ event) => take(event.target.value)} />
    ${list && html`<datalist id=${`${name}-list`}>${list.map(item => html`<option value=${item} />`)}</datalist>`}
    ${complaint && html`<span class="failure" role="alert">${complaint}</span>`}</label>`
}

/** A choice of the view's state in the address.
 * @param {{ label: string, name: string, value: string, options: [string, string][], also?: Record<string, string> }} props */
export function Choice({ label, name, value, options, also = {} }) {
  const choose = (/** @type {any} */ event) => change({ [name]: event.target.value, ...also })
  return html`<label class="field"><span>${label}</span>
    <select name=${name} value=${value} onChange=${choose}>
      ${options.map(([option, text]) => html`<option value=${option} selected=${option === value}>${text}</option>`)}
    </select></label>`
}

const ZONES = ['Asia/Bangkok', 'UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo']

/** @param {{ value: string }} props */
export function Zone({ value }) {
  return html`<${Field} label=${t('zone')} name="tz" value=${value} list=${ZONES}
    check=${(/** @type {string} */ text) => (isZone(text.trim()) ? '' : t('badZone'))} />`
}

/** A CSV of what a view shows. @param {{ name: string, text: () => string }} props */
export function Download({ name, text }) {
  const save = () => {
    const link = document.createElement('a')
    link.href = URL.createObjectURL(new Blob([text()], { type: 'text/csv' }))
    link.download = `${name}.csv`
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 1_000)
  }
  return html`<button type="button" class="download" onClick=${save}>${t('download')}</button>`
}

/** @param {string} text */
const quoted = text => `'${text.replaceAll("'", "'\\''")}'`

/** The request behind a view, for a terminal. @param {{ path: string, body?: any }} props */
export function Curl({ path, body }) {
  const parts = ['curl', quoted(location.origin + path), '-H', '"X-API-Key: $KEY"']
  if (body !== undefined) parts.push('-H', quoted('Content-Type: application/json'), '-d', quoted(JSON.stringify(body)))
  return html`<details class="curl"><summary>${t('curl')}</summary><pre tabindex="0">${parts.join(' ')}</pre></details>`
}
