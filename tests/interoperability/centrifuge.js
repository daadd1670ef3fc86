"use strict";

// Uses the service with Centrifugo's client for JavaScript as a test tells it: a command as JSON on each line in, a reply
// as JSON on each line out. The commands and replies are those of centrifuge_client.py.
//
// Usage: centrifuge.js URL

const readline = require("readline");

const { Centrifuge } = require("centrifuge");
const WebSocket = require("ws");

const url = process.argv[2];

let client = null;
const events = [];
let waiting = null;
let giveToken = null;

function tell(event) {
  events.push(event);
  if (waiting) waiting();
}

// Messages have numbers, and an offset of 0 means none.
const message = ({ data, offset, tags }) => ({ data, offset: offset ?? 0, tags: tags ?? {} });

const commands = {
  async connect({ token }) {
    const options = { websocket: WebSocket, minReconnectDelay: 10, maxReconnectDelay: 100 };
    if (token) {
      options.token = token;
      options.getToken = () => {
        tell({ event: "token" });
        return new Promise((resolve) => (giveToken = resolve));
      };
    }
    client = new Centrifuge(url, options);
    client.on("connecting", ({ code }) => tell({ event: "connecting", code }));
    client.on("connected", () => tell({ event: "connected" }));
    client.on("disconnected", ({ code }) => tell({ event: "disconnected", code }));
    client.connect();
    return {};
  },

  // Gives the client the token that it asked for.
  async token({ token }) {
    giveToken(token);
    return {};
  },

  async subscribe({ channel, data, filter }) {
    const options = { minResubscribeDelay: 10, maxResubscribeDelay: 100 };
    if (data) options.data = data;
    if (filter) options.tagsFilter = filter;
    const subscription = client.newSubscription(channel, options);
    subscription.on("subscribing", ({ code }) => tell({ event: "subscribing", code }));
    subscription.on("subscribed", ({ wasRecovering, recovered, streamPosition }) =>
      tell({ event: "subscribed", was_recovering: wasRecovering, recovered, position: streamPosition }),
    );
    subscription.on("unsubscribed", ({ code }) => tell({ event: "unsubscribed", code }));
    subscription.on("error", ({ error }) => tell({ event: "error", code: error.code }));
    subscription.on("publication", (publication) => tell({ event: "publication", ...message(publication) }));
    subscription.subscribe();
    return {};
  },

  async event() {
    while (events.length === 0) await new Promise((resolve) => (waiting = resolve));
    return events.shift();
  },

  async publish({ channel, data }) {
    await client.publish(channel, data);
    return {};
  },

  async history({ channel, ...options }) {
    const { publications, offset, epoch } = await client.history(channel, options);
    return { publications: publications.map(message), offset, epoch };
  },

  async presence({ channel }) {
    await client.presence(channel);
    return {};
  },

  async rpc() {
    await client.rpc("method", {});
    return {};
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...parameters } = JSON.parse(line);
    const reply = await commands[name](parameters).catch(({ code }) => ({ code }));
    console.log(JSON.stringify(reply));
  }
  process.exit();
}

main();
