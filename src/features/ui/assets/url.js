// The state of the page is in the fragment of its address: `#/energy?bucket=1d`. A link shows what its sender saw.
import { useEffect, useState } from './dom.js'

/**
 * @typedef {Record<string, string>} Params
 * @typedef {{ view: string, params: Params }} Place
 */

/** @returns {Place} */
export function place() {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  return { view: path || 'overview', params: Object.fromEntries(new URLSearchParams(query)) }
}

/** The address of a view. Empty parameters are left out.
 * @param {string} view @param {Params} params */
export function address(view, params) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== '')).toString()
  return `#/${view}${query && `?${query}`}`
}

/** Changes parameters of the current view. Every change is a step that the browser can go back.
 * @param {Params} changes */
export function change(changes) {
  const { view, params } = place()
  const next = address(view, { ...params, ...changes })
  if (next !== location.hash) location.hash = next
}

/** The current place; the component is drawn again when it changes. */
export function usePlace() {
  const [current, set] = useState(place())
  useEffect(() => {
    const follow = () => set(place())
    addEventListener('hashchange', follow)
    return () => removeEventListener('hashchange', follow)
  }, [])
  return current
}
