// The kinds of problems, and how often this replica has returned each.
import { request, useData } from '../api.js'
import { html } from '../dom.js'
import { number } from '../format.js'
import { t } from '../language.js'
import { Failure, Field, Panel, Rows } from '../parts.js'
import { samplesOf } from '../prometheus.js'

/** @param {string} path @param {string} type @param {AbortSignal} signal */
const text = async (path, type, signal) => (await request(path, { signal, headers: { Accept: type } })).text()

/** The problems of the replica that answered. @param {import('../prometheus.js').Sample[]} samples */
function countsOf(samples) {
  const named = (/** @type {string} */ name) => samples.filter(sample => sample.name === name)
  return {
    replica: named('replica_info')[0]?.labels.replica,
    byCode: new Map(named('http_problems_total').map(sample => [sample.labels.code, sample.value])),
  }
}

/** @param {{ params: Record<string, string> }} props */
export function Problems({ params }) {
  const { q = '' } = params
  const codes = useData(async signal => [...(await text('/problems', 'text/html', signal)).matchAll(/href="\/problems\/([a-z0-9-]+)"/g)].map(match => match[1]), [])
  const counts = useData(async signal => countsOf(samplesOf(await text('/metrics', 'text/plain', signal))), [], 5_000)
  const of = (/** @type {string} */ code) => counts.data?.byCode.get(code) ?? 0
  const shown = (codes.data ?? []).filter(code => code.includes(q))
    .sort((a, b) => of(b) - of(a) || a.localeCompare(b))
  return html`<form class="controls" onSubmit=${(/** @type {any} */ event) => event.preventDefault()}>
      <${Field} label=${t('search')} name="q" value=${q} hint=${t('code')} search=${true} /></form>
    <${Failure} error=${codes.error ?? counts.error} />
    <${Panel} title=${t('problems')}><p class="note">${t('explain')} ${t('countedBy')} <b id="counted-by">${counts.data?.replica ?? '–'}</b></p>
      <${Rows} caption=${t('problems')} header=${[t('code'), t('count')]} numeric=${1}
        rows=${shown.map(code => [html`<a href=${`/problems/${code}`}>${code}</a>`, counts.data ? number(of(code)) : '–'])} />
    </${Panel}>`
}
