// Calls of the API. The credential is requested once, when the service asks for it, and is kept in memory only.
import { useEffect, useState } from './dom.js'

/** A response that is not a success, with the texts of its problem. */
export class ApiError extends Error {
  /** @param {number} status @param {any} problem @param {number} [wait] The seconds until another attempt makes sense. */
  constructor(status, problem, wait = 0) {
    super(problem?.detail || problem?.title || `HTTP ${status}`)
    this.status = status
    this.wait = wait
    /** @type {string} */
    this.code = problem?.code ?? ''
  }
}

/**
 * @typedef {{ method?: string, body?: any, headers?: Record<string, string>, signal?: AbortSignal }} Options
 */

let credential = ''
/** @type {Promise<void> | null} */
let asking = null
/** @type {() => Promise<string>} */
let ask = async () => ''

/** Names the function that asks the reader for a credential.
 * @param {() => Promise<string>} dialog */
export function askWith(dialog) {
  ask = dialog
}

/** @returns {Record<string, string>} */
function credentials() {
  if (!credential) return {}
  return credential.startsWith('ak_') ? { 'X-API-Key': credential } : { Authorization: `Bearer ${credential}` }
}

/** Sends a request; asks for a credential if the service needs one, however many requests wait for it.
 * @param {string} path @param {Options} [options] @returns {Promise<Response>} */
export async function send(path, options = {}) {
  for (;;) {
    const used = credential
    const headers = { Accept: 'application/json', ...credentials(), ...options.headers }
    const response = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit' })
    if (response.status !== 401) return response
    if (used === credential) {
      asking ??= ask().then(given => {
        credential = given
        asking = null
      })
      await asking
    }
    options.signal?.throwIfAborted()
  }
}

/** The response of a success.
 * @param {string} path @param {Options} [options] @returns {Promise<Response>} */
export async function request(path, options) {
  const response = await send(path, options)
  if (response.ok) return response
  const text = await response.text()
  let problem = null
  try {
    problem = JSON.parse(text)
  } catch {
    // A proxy may have answered.
  }
  throw new ApiError(response.status, problem, Number(response.headers.get('retry-after')) || 0)
}

/** The JSON of a response; with a body, the request is a POST.
 * @param {string} path @param {Options} [options] @returns {Promise<any>} */
export async function load(path, options = {}) {
  const { body, ...rest } = options
  if (body === undefined) return (await request(path, rest)).json()
  const headers = { 'Content-Type': 'application/json', ...rest.headers }
  return (await request(path, { method: 'POST', ...rest, headers, body: JSON.stringify(body) })).json()
}

/**
 * @template T
 * @typedef {{ data: T | null, error: any, again: () => void }} Loaded
 */

let paused = false
/** Stops or continues the refreshing of all lists.
 * @param {boolean} isPaused */
export function pause(isPaused) {
  paused = isPaused
}

/** What `get` resolves to, for the values of `keys`. It is read again every `every` milliseconds while the page is visible.
 * Earlier data stay until new ones arrive.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} get @param {any[]} keys @param {number} [every]
 * @returns {Loaded<T>} */
export function useData(get, keys, every = 0) {
  const [state, set] = useState(/** @type {{ data: T | null, error: any }} */ ({ data: null, error: null }))
  const [round, setRound] = useState(0)
  useEffect(() => {
    const stop = new AbortController()
    /** @type {number | undefined} */
    let timer
    let isFirst = true
    const run = async () => {
      try {
        if (isFirst || !(document.hidden || paused)) {
          isFirst = false
          const data = await get(stop.signal)
          if (!stop.signal.aborted) set({ data, error: null })
        }
      } catch (error) {
        if (!stop.signal.aborted) set(last => ({ ...last, error }))
      }
      if (every && !stop.signal.aborted) timer = setTimeout(run, every)
    }
    run()
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [...keys, round])
  return { ...state, again: () => setRound(round + 1) }
}

/** One segment of a path. @param {string} text */
export const segment = text => encodeURIComponent(text)

/** The query of an address; empty values are left out.
 * @param {Record<string, string | number>} params */
export function query(params) {
  const given = Object.entries(params).filter(([, value]) => value !== '')
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()
  return text && `?${text}`
}
