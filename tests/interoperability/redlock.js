"use strict";

// Holds a lock with node-redlock as a test tells it: a command as JSON on each line in, an answer as JSON on each line
// out. The commands and answers are those of redis_py.py.
//
// Usage: redlock.js PACKAGE SECTION SOCKET..., where PACKAGE is the version's name in package.json, SECTION the unix
// socket of the Redis that watches the critical section, and each SOCKET that of a Redis that keeps the lock.

const readline = require("readline");

const Redis = require("ioredis");

const [packageName, sectionSocket, ...sockets] = process.argv.slice(2);
const exported = require(packageName);
const Redlock = exported.default ?? exported;

// As patient as a test can be with a busy machine.
const CONTENTION_PATIENCE_MS = 60_000;
const POLL_MS = 5;

const section = new Redis(sectionSocket);
const nodes = sockets.map((socket) => new Redis(socket));

// Tries once: version 5 keeps the votes of a minority while it retries, so that two of them would wait for each other.
const redlock = new Redlock(nodes, { retryCount: 0 });
// A node that cannot be asked is an error event, and no reason to end.
redlock.on("clientError", () => {});
let held = null;

// Of different length each time, or those who tried together would try together again.
const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS * (0.5 + Math.random())));

const commands = {
  async acquire({ key, ttl_ms, wait_ms }) {
    const deadline = Date.now() + wait_ms;
    for (;;) {
      try {
        held = await redlock.acquire([key], ttl_ms);
        return { ok: true };
      } catch (error) {
        if (Date.now() >= deadline) throw error;
      }
      await pause();
    }
  },

  async extend({ ttl_ms }) {
    held = await redlock.extend(held, ttl_ms);
    return { ok: true };
  },

  async release() {
    await redlock.release(held);
    return { ok: true };
  },

  async contend({ key, ttl_ms, rounds, name }) {
    let intruders = 0;
    for (let round = 0; round < rounds; round++) {
      await commands.acquire({ key, ttl_ms, wait_ms: CONTENTION_PATIENCE_MS });
      intruders += (await isAlone(key, name)) ? 0 : 1;
      await commands.release();
      // Whoever never pauses never lets go of it: the next attempt would come before anybody else's.
      await pause();
    }
    return { ok: true, intruders };
  },
};

// Goes through the critical section.
async function isAlone(key, name) {
  const entered = await section.set(`inside:${key}`, name, "NX");
  await section.rpush(`visits:${key}`, name);
  const stayed = (await section.get(`inside:${key}`)) === name;
  await section.del(`inside:${key}`);
  return entered === "OK" && stayed;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...parameters } = JSON.parse(line);
    const answer = await commands[name](parameters).catch((error) => ({ ok: false, error: error.name }));
    console.log(JSON.stringify(answer));
  }
  [section, ...nodes].forEach((client) => client.disconnect());
}

main();
