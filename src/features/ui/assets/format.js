// Numbers, times and durations as text.
import { language } from './language.js'

/** A number with at most this many decimals; a dash for nothing.
 * @param {number | null | undefined} value @param {number} [decimals] */
export function number(value, decimals = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–'
  return value.toLocaleString(language(), { maximumFractionDigits: decimals })
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return '–'
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let at = 0
  let value = bytes
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024
    at += 1
  }
  return `${number(value, 1)} ${units[at]}`
}

/** @param {number | null | undefined} millis */
export function duration(millis) {
  if (millis === null || millis === undefined) return '–'
  const seconds = millis / 1000
  if (seconds < 60) return `${number(seconds, 1)} s`
  if (seconds < 3_600) return `${number(Math.floor(seconds / 60))} min ${number(Math.floor(seconds % 60))} s`
  if (seconds < 86_400) return `${number(Math.floor(seconds / 3_600))} h ${number(Math.floor(seconds / 60) % 60)} min`
  return `${number(Math.floor(seconds / 86_400))} d ${number(Math.floor(seconds / 3_600) % 24)} h`
}

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map()

/** @param {string | undefined} zone @param {boolean} withSeconds */
function format(zone, withSeconds) {
  const key = `${zone} ${withSeconds}`
  let known = formats.get(key)
  if (!known) {
    // The calendar and the form of dates are those of ISO 8601 in every language: they are read beside API responses.
    known = new Intl.DateTimeFormat('sv-SE', {
      timeZone: zone, dateStyle: 'short', timeStyle: withSeconds ? 'medium' : 'short',
    })
    formats.set(key, known)
  }
  return known
}

/** A time such as `2026-06-01 12:00` in a time zone, or in the reader's.
 * @param {number} millis @param {string} [zone] */
export const time = (millis, zone) => format(zone, false).format(millis)

/** @param {number} millis @param {string} [zone] */
export const timeOfDay = (millis, zone) => format(zone, true).format(millis).slice(11)

/** Whether the browser knows a time zone. @param {string} zone */
export function isZone(zone) {
  try {
    format(zone, false)
    return true
  } catch {
    return false
  }
}

/** CSV with a header line. Texts that a spreadsheet would run are quoted as texts.
 * @param {string[]} header @param {(string | number | null)[][]} rows */
export function csv(header, rows) {
  const cell = (/** @type {string | number | null} */ value) => {
    if (value === null) return ''
    if (typeof value === 'number') return String(value)
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  return [header, ...rows].map(row => row.map(cell).join(',')).join('\n') + '\n'
}
