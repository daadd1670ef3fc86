"use strict";

// Follows a stream of Server-Sent Events with npm's EventSource, which behaves as that of browsers, as a test tells it: a
// command as JSON on each line in, a reply as JSON on each line out.
//
// Usage: event_source.js URL

const readline = require("readline");

const { EventSource } = require("eventsource");

const KINDS = ["PriceUpdate", "message", "gap", "stale", "fresh", "expired"];

const events = [];
let waiting = null;

function tell(event) {
  events.push(event);
  if (waiting) waiting();
}

const source = new EventSource(process.argv[2]);
source.onopen = () => tell({ event: "open" });
source.onerror = ({ code }) => tell({ event: "error", code: code ?? null });
for (const kind of KINDS) {
  source.addEventListener(kind, ({ data, lastEventId }) => tell({ event: kind, data: JSON.parse(data), id: lastEventId }));
}

const commands = {
  async event() {
    while (events.length === 0) await new Promise((resolve) => (waiting = resolve));
    return events.shift();
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name } = JSON.parse(line);
    console.log(JSON.stringify(await commands[name]()));
  }
  process.exit();
}

main();
