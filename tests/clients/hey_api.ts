// One round trip per capability with the client that @hey-api/openapi-ts generates.

import assert from "node:assert/strict";

import { client } from "./gridtokenx/client.gen.js";
import {
    acquireLock, checkLimit, getCacheValue, getJsonDocument, getLatestHostMetrics, getSeriesRange, incrementCacheCounter,
    listLimiters, patchJsonDocument, postHeartbeat, postHostMetrics, postSeriesSamples, putCacheValue, putJsonDocument,
    releaseLock,
} from "./gridtokenx/index.js";

const name = "clients:hey-api";
const host = "hey-api";
client.setConfig({ baseUrl: process.env["GRIDTOKENX_URL"], headers: { "X-API-Key": process.env["GRIDTOKENX_KEY"] } });
const throwOnError = true;
const path = { key: name };

const { data: grant } = await acquireLock({ path: { resource: name }, body: { ttl_ms: 30_000 }, throwOnError });
assert(grant.fencing_token > 2 ** 31 && Number.isSafeInteger(grant.fencing_token));

const everyByte = Uint8Array.from({ length: 256 }, (_, i) => i);
const stored = await putCacheValue({
    path, query: { ttl_ms: 60_000 }, body: new Blob([everyByte]), throwOnError,
    headers: { "Cache-Content-Type": "image/png", "Fencing-Token": grant.fencing_token },
});
assert.equal(stored.response.status, 201);
const { data: value } = await getCacheValue({ path, parseAs: "blob", throwOnError });
assert.deepEqual(new Uint8Array(await value.arrayBuffer()), everyByte);
assert.equal(value.type, "image/png");
const { error } = await putCacheValue({
    path, body: new Blob(["late"]), headers: { "Fencing-Token": grant.fencing_token - 1 },
});
assert.deepEqual([error?.code, error?.status, error?.outcome], ["stale-fence", 409, "not_applied"]);
await releaseLock({ path: { resource: name }, headers: { "Lock-Token": grant.token }, throwOnError });

for (const _ of [1, 2]) {
    const { data: counter } = await incrementCacheCounter({
        path: { key: `${name}:counter` }, body: { by: 1 }, headers: { "Idempotency-Key": name }, throwOnError,
    });
    assert.equal(counter.value, 1);
}

const samples = [{ timestamp: 1_767_225_600_000, value: 0.392 }, { timestamp: 1_767_226_500_000, value: 2 }];
const { data: answer } = await postSeriesSamples({ path, body: { samples }, throwOnError });
assert.deepEqual([answer.accepted, answer.refused], [2, []]);
const query = { from: "1767225600000", to: "2026-01-02T00:00:00Z" };
const { data: window } = await getSeriesRange({ path, query, throwOnError });
assert(typeof window !== "string");
assert.deepEqual(window.samples, samples);

await putJsonDocument({ path, body: { name: "Ada", limits: { daily_kwh: 40.5 } }, throwOnError });
await patchJsonDocument({ path, body: { name: null, limits: { daily_kwh: 45 } }, throwOnError });
const { data: document } = await getJsonDocument({ path, throwOnError });
assert.deepEqual(document, { limits: { daily_kwh: 45 } });

const { data: decision } = await checkLimit({ body: { limiter: "orders", key: name }, throwOnError });
assert(decision.allowed && decision.remaining === decision.limit - 1);
const { data: limiters } = await listLimiters({ throwOnError });
const strategy = limiters.items.find((limiter) => limiter.name === "orders")?.strategy;
assert(strategy?.kind === "sliding_window" && strategy.limit === decision.limit);

const space = { total: 2 ** 40, used: 2 ** 39, usagePercent: 50 };
const agent = { ...space, available: 2 ** 39 };
const loadAvg: [number, number, number] = [0.52, 0.58, 0.61];
const heartbeat = {
    hostname: "web-1.example.org", agentVersion: "2.1.0", agentStatus: "running", uptime: 86_400,
    metrics: { cpu: { cores: 8, usage: 37.5, loadAvg }, memory: agent, disk: agent },
};
const { data: beat } = await postHeartbeat({
    body: { hostId: host, organizationSlug: "clients", heartbeat }, throwOnError,
});
assert(beat.success);
const network = { bytesIn: 2 ** 33, bytesOut: 1, packetsIn: 2, packetsOut: 3 };
const [memory, disk] = [{ ...space, free: 2 ** 39 }, { ...space, free: 2 ** 39 }];
const { data: accepted } = await postHostMetrics({
    path: { id: host }, body: [{ cpu: { cores: 8, usage: 12.5, loadAvg }, memory, disk, network }], throwOnError,
});
assert.equal(accepted.accepted, 1);
const { data: latest } = await getLatestHostMetrics({ path: { id: host }, throwOnError });
assert.deepEqual([latest.metrics.cpu.usage, latest.metrics.network.bytesIn], [12.5, 2 ** 33]);
