// Elements from templates. Every text becomes a text node: no part of the page turns text into markup.
import { h } from './vendor/preact.mjs'
import htm from './vendor/htm.mjs'

export { h, render } from './vendor/preact.mjs'
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.mjs'

/** @typedef {any} Node_ An element, a text, or nothing. */

/** @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(h)
