// Streams of Server-Sent Events, which connect again when they end.
import { ApiError, request } from './api.js'

/** Splits a stream of Server-Sent Events.
 * @param {ReadableStream<Uint8Array>} body @param {(name: string, data: string) => void} take */
async function readEvents(body, take) {
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

/** Follows a stream while the page is visible: hidden pages cost the service nothing. A stream that ends is opened again.
 * Returns what ends it.
 * @param {string} path
 * @param {(name: string, data: string) => void} take
 * @param {(isConnected: boolean, error: any) => void} tell Called when the stream begins and ends.
 * @param {number} [silence] A service that is silent for so many milliseconds has stopped or hangs.
 * @returns {() => void} */
export function follow(path, take, tell, silence = Infinity) {
  /** @type {AbortController | null} */
  let connection = null
  let timer = 0
  let isOver = false
  const connect = async () => {
    const stop = new AbortController()
    connection = stop
    let heard = Infinity
    let isNext = false
    /** @type {any} */
    let failure = null
    const watch = setInterval(() => {
      if (Date.now() - heard > silence) stop.abort()
    }, 500)
    try {
      const response = await request(path, { headers: { Accept: 'text/event-stream' }, signal: stop.signal })
      heard = Date.now()
      tell(true, null)
      if (response.body) {
        await readEvents(response.body, (name, data) => {
          heard = Date.now()
          if (name === 'again') isNext = true
          else take(name, data)
        })
      }
    } catch (error) {
      failure = error
    }
    clearInterval(watch)
    const isCurrent = connection === stop
    if (isCurrent) connection = null
    if (isOver) return
    if (isCurrent && isNext) {
      connect()
      return
    }
    tell(false, failure)
    // A caller without the scope would only be refused again.
    if (!isCurrent || document.hidden || (failure instanceof ApiError && failure.status === 403)) return
    const wait = failure instanceof ApiError ? failure.wait : 0
    timer = setTimeout(() => connection ?? connect(), 1_000 * Math.max(wait, 1 + 4 * Math.random()))
  }
  const leave = () => {
    clearTimeout(timer)
    const open = connection
    connection = null
    open?.abort()
  }
  const change = () => {
    if (document.hidden) leave()
    else if (!connection) connect()
  }
  document.addEventListener('visibilitychange', change)
  connect()
  return () => {
    isOver = true
    document.removeEventListener('visibilitychange', change)
    leave()
  }
}
