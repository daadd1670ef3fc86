// Samples of series as columns that a plot can draw.
import { load } from './api.js'

/** @typedef {{ timestamp: number, value: number | null }} Sample */

/** Puts lists of samples onto one axis of time.
 * @param {Sample[][]} lists @returns {{ times: number[], columns: (number | null)[][] }} */
export function joined(lists) {
  const times = [...new Set(lists.flatMap(list => list.map(sample => sample.timestamp)))].sort((a, b) => a - b)
  const at = new Map(times.map((time, row) => [time, row]))
  const columns = lists.map(list => {
    /** @type {(number | null)[]} */
    const column = times.map(() => null)
    for (const { timestamp, value } of list) column[at.get(timestamp) ?? 0] = value
    return column
  })
  return { times, columns }
}

/** The conditions in a text, such as `kind=generation meter=(a,b)`. @param {string} text */
export const conditions = text => text.split(/\s+/).filter(part => part !== '')

/** Whether a text has conditions on labels, and is not a prefix of keys. @param {string} text */
export const isCondition = text => /^[^:\s]+!?=/.test(text)

/** The series that a text selects: by conditions on labels, or by a prefix of their keys.
 * @param {string} text @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<{ key: string, labels: Record<string, string> }[]>} */
export async function findSeries(text, limit, signal) {
  const query = new URLSearchParams({ limit: String(limit) })
  if (isCondition(text)) for (const condition of conditions(text)) query.append('filter', condition)
  else if (text) query.set('prefix', text)
  return (await load(`/timeseries?${query}`, { signal })).items
}

/** The sum of a column. @param {(number | null)[]} column */
export const sum = column => column.reduce((/** @type {number} */ total, value) => total + (value ?? 0), 0)
