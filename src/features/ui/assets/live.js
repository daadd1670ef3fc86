// The live numbers: one stream, from which every view takes what it shows.
import { ApiError, request } from './api.js'
import { useEffect, useState } from './dom.js'

/**
 * @typedef {{ time: number, status: string, reasons: string[], requests: number, errors: number, p50_ms: number | null,
 *   p99_ms: number | null, hit_rate: number | null, locks_held: number, locks_waiting: number,
 *   refused: Record<string, number>, samples: number, redis_p99_ms: number | null, events: string[] }} Frame
 * @typedef {{ connected: boolean, paused: boolean, may: string[], error: any, frames: Frame[] }} Live
 */

/** Ten minutes. */
const KEPT = 600
/** A service that is silent for this long has stopped or hangs, milliseconds. */
const SILENCE = 4_000

/** @type {Live} */
const live = { connected: false, paused: false, may: [], error: null, frames: [] }
/** The frames that arrived during a pause. @type {Frame[]} */
let waiting = []
/** @type {Set<() => void>} */
const followers = new Set()
/** @type {AbortController | null} */
let connection = null
let scheduled = false

function tell() {
  if (scheduled) return
  scheduled = true
  // Ten minutes of frames arrive at once, and are drawn once.
  setTimeout(() => {
    scheduled = false
    for (const follower of followers) follower()
  }, 30)
}

/** @param {string} name @param {string} data */
function take(name, data) {
  if (name === 'caller') {
    live.may = JSON.parse(data).may
    // The stream repeats what it has sent before.
    live.frames = []
    waiting = []
  } else if (name === 'frame') {
    const into = live.paused ? waiting : live.frames
    into.push(JSON.parse(data))
    if (into.length > KEPT) into.shift()
  }
}

/** Splits a stream of Server-Sent Events.
 * @param {ReadableStream<Uint8Array>} body @param {(name: string, data: string) => void} take */
export async function readEvents(body, take) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const events = (rest + value).split('\n\n')
    rest = events.pop() ?? ''
    for (const event of events) {
      const lines = event.split('\n')
      const field = (/** @type {string} */ name) => lines.find(line => line.startsWith(name))?.slice(name.length) ?? ''
      const name = field('event: ')
      if (name) take(name, field('data: '))
    }
  }
}

async function connect() {
  const stop = new AbortController()
  connection = stop
  let lastHeard = Date.now()
  const watch = setInterval(() => {
    if (live.connected && Date.now() - lastHeard > SILENCE) stop.abort()
  }, 500)
  try {
    const response = await request('/ui/events', { headers: { Accept: 'text/event-stream' }, signal: stop.signal })
    live.error = null
    lastHeard = Date.now()
    if (response.body) {
      await readEvents(response.body, (name, data) => {
        lastHeard = Date.now()
        live.connected = true
        take(name, data)
        tell()
      })
    }
  } catch (error) {
    live.error = error
  }
  clearInterval(watch)
  live.connected = false
  tell()
  if (connection !== stop) return
  connection = null
  // A caller without the scope would only be refused again.
  const isRefused = live.error instanceof ApiError && live.error.status === 403
  if (!document.hidden && !isRefused) setTimeout(() => connection ?? connect(), 1_000 + 4_000 * Math.random())
}

/** Connects while the page is visible: hidden pages cost the service nothing. */
export function start() {
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      const open = connection
      connection = null
      open?.abort()
    } else if (!connection) {
      connect()
    }
  })
  connect()
}

/** Stops or continues the plots. What arrives during a pause is shown after it. @param {boolean} isPaused */
export function pauseLive(isPaused) {
  live.paused = isPaused
  if (!isPaused) {
    live.frames = [...live.frames, ...waiting].slice(-KEPT)
    waiting = []
  }
  tell()
}

/** The live numbers; the component is drawn again with every frame. */
export function useLive() {
  const [, redraw] = useState(0)
  useEffect(() => {
    let count = 0
    const follower = () => redraw(++count)
    followers.add(follower)
    follower()
    return () => {
      followers.delete(follower)
    }
  }, [])
  return live
}
