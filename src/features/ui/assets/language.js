// The labels of the page in the language of the reader: English or Thai.
import { labels } from './labels.js'

/** @typedef {keyof typeof labels} Label */

const saved = () => {
  const wanted = new URLSearchParams(location.hash.split('?')[1]).get('lang')
  return wanted ?? (navigator.language.startsWith('th') ? 'th' : 'en')
}

/** @returns {'en' | 'th'} */
export const language = () => (saved() === 'th' ? 'th' : 'en')

/** @param {Label} label */
export const t = label => labels[label][language() === 'th' ? 1 : 0]
