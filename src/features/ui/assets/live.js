// The live numbers: one stream, from which every view takes what it shows.
import { useEffect, useState } from './dom.js'
import { follow } from './events.js'

/**
 * @typedef {{ time: number, status: string, reasons: string[], requests: number, errors: number, p50_ms: number | null,
 *   p99_ms: number | null, hit_rate: number | null, locks_held: number, locks_waiting: number,
 *   refused: Record<string, number>, samples: number, redis_p99_ms: number | null, events: string[] }} Frame
 * @typedef {{ name: string, version: string, started: number }} Replica Whose numbers the frames are.
 * @typedef {{ connected: boolean, paused: boolean, may: string[], replica: Replica | null, error: any, frames: Frame[] }} Live
 */

/** Ten minutes. */
const KEPT = 600
/** A service that is silent for this long has stopped or hangs, milliseconds. */
const SILENCE = 4_000

/** @type {Live} */
const live = { connected: false, paused: false, may: [], replica: null, error: null, frames: [] }
/** The frames that arrived during a pause. @type {Frame[]} */
let waiting = []
/** Whether they take the place of the frames that are shown, and do not follow them. */
let replaces = false
/** @type {Set<() => void>} */
const followers = new Set()
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
    waiting = []
    if (live.paused) replaces = true
    else live.frames = []
  } else if (name === 'replica') {
    live.replica = JSON.parse(data)
  } else if (name === 'frame') {
    const into = live.paused ? waiting : live.frames
    into.push(JSON.parse(data))
    if (into.length > KEPT) into.shift()
  }
}

/** Begins to follow the live numbers, for as long as the page is open. */
export function start() {
  follow('/ui/events', (name, data) => {
    take(name, data)
    tell()
  }, (isConnected, error) => {
    live.connected = isConnected
    live.error = error
    tell()
  }, SILENCE)
}

/** Stops or continues the plots. What arrives during a pause is shown after it. @param {boolean} isPaused */
export function pauseLive(isPaused) {
  live.paused = isPaused
  if (!isPaused) {
    live.frames = [...(replaces ? [] : live.frames), ...waiting].slice(-KEPT)
    waiting = []
    replaces = false
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
