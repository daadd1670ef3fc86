// The text format of Prometheus.

/** @typedef {{ name: string, labels: Record<string, string>, value: number }} Sample */

/** The samples of a scrape. @param {string} text @returns {Sample[]} */
export function samplesOf(text) {
  return text.split('\n').flatMap(line => {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line)
    if (!match) return []
    const labels = [...(match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
      .map(([, name, value]) => [name, value.replace(/\\(.)/g, (_, char) => (char === 'n' ? '\n' : char))])
    return [{ name: match[1], labels: Object.fromEntries(labels), value: Number(match[3]) }]
  })
}
