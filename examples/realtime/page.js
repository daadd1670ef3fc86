"use strict";

// Three ways to use channels, with Centrifugo's client for browsers. The address of the page may name the `user` whose orders
// it shows, and a `token`.

const parameters = new URLSearchParams(location.search);
const user = parameters.get("user") ?? "ann";
const NEWEST = 20;

const element = (id) => document.getElementById(id);
const count = (id) => (element(id).textContent = Number(element(id).textContent) + 1);

// Shows the cells in the row of the table that has this key; a new row is the first.
function show(table, key, cells) {
  let row = [...element(table).rows].find((known) => known.dataset.key === key);
  if (!row) {
    row = element(table).insertRow(0);
    row.dataset.key = key;
    while (element(table).rows.length > NEWEST) element(table).deleteRow(NEWEST);
  }
  row.replaceChildren(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
}

const scheme = location.protocol === "https:" ? "wss" : "ws";
const client = new Centrifuge(`${scheme}://${location.host}/connection/websocket`, { token: parameters.get("token") ?? "" });
client.on("state", ({ newState }) => (element("state").textContent = newState));
client.on("connected", () => count("connections"));

// 1. A ticker: every price, in order. The library continues with its position after a lost connection.
const ticker = client.newSubscription("market:events");
ticker.on("publication", ({ data, offset, tags }) => {
  if (tags.message_type !== "PriceUpdate") return;
  count("ticker-count");
  show("ticker", String(offset), [data.symbol, data.price, `${data.change_percent} %`]);
});

// 2. Own orders: no change may be missed. If the service could not recover, the page begins with the stored messages.
element("orders-channel").textContent = `orders:${user}`;
const orders = client.newSubscription(`orders:${user}`);
const showOrder = ({ data, tags }) => {
  count("orders-count");
  show("orders", data.order_id, [data.order_id, tags.message_type, data.side, data.quantity, data.price]);
};
orders.on("publication", showOrder);
let isComplete = false;
orders.on("subscribed", async ({ recovered }) => {
  if (recovered && isComplete) return;
  isComplete = false;
  try {
    const { publications } = await orders.history({ limit: NEWEST, reverse: true });
    element("orders").replaceChildren();
    publications.reverse().forEach(showOrder);
    isComplete = true;
  } catch {
    // The connection is lost again: the next subscription reads them.
  }
});

// 3. A dashboard: the newest price of each symbol at most once a second, however many there are.
const options = { data: { mode: "latest", max_rate: 1, snapshot: true } };
const dashboard = client.newSubscription("market:prices", options);
dashboard.on("publication", ({ data }) => {
  count("dashboard-count");
  show("dashboard", data.symbol, [data.symbol, data.price]);
});

for (const subscription of [ticker, orders, dashboard]) subscription.subscribe();
client.connect();
