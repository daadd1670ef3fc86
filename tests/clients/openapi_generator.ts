// One round trip per capability with the client that openapi-generator generates for TypeScript and fetch.

import assert from "node:assert/strict";

import {
    CacheApi, Configuration, HostsApi, JsonApi, LocksApi, ProblemFromJSON, RatelimitApi, ResponseError, TimeseriesApi,
} from "./gridtokenx/index.js";

const name = "clients:openapi-generator-typescript";
const host = "openapi-generator-typescript";
const configuration = new Configuration({
    basePath: process.env["GRIDTOKENX_URL"],
    apiKey: process.env["GRIDTOKENX_KEY"],
});
const [locks, cache] = [new LocksApi(configuration), new CacheApi(configuration)];
const [series, documents] = [new TimeseriesApi(configuration), new JsonApi(configuration)];
const [limits, hosts] = [new RatelimitApi(configuration), new HostsApi(configuration)];

const grant = await locks.acquireLock({ resource: name, lockAcquireRequest: { ttlMs: 30_000 } });
assert(grant.fencingToken > 2 ** 31 && Number.isSafeInteger(grant.fencingToken));

const everyByte = Uint8Array.from({ length: 256 }, (_, i) => i);
const fencingToken = grant.fencingToken;
const stored = await cache.putCacheValueRaw({
    key: name, body: new Blob([everyByte]), ttlMs: 60_000, cacheContentType: "image/png", fencingToken,
});
assert.equal(stored.raw.status, 201);
const read = await cache.getCacheValue({ key: name });
assert.deepEqual(new Uint8Array(await read.arrayBuffer()), everyByte);
assert.equal(read.type, "image/png");
const late = await cache.putCacheValue({ key: name, body: new Blob(["late"]), fencingToken: fencingToken - 1 })
    .catch((error) => error);
assert(late instanceof ResponseError);
const problem = ProblemFromJSON(await late.response.json());
assert.deepEqual([problem.code, problem.status, problem.outcome], ["stale-fence", 409, "not_applied"]);
await locks.releaseLock({ resource: name, lockToken: grant.token });

const key = `${name}:counter`;
for (const _ of [1, 2]) {
    const counter = await cache.incrementCacheCounter({ key, cacheIncrement: { by: 1 } }, async ({ init }) => ({
        headers: { ...init.headers, "Idempotency-Key": name },
    }));
    assert.equal(counter.value, 1);
}

const samples = [{ timestamp: 1_767_225_600_000, value: 0.392 }, { timestamp: 1_767_226_500_000, value: 2 }];
const answer = await series.postSeriesSamples({ key: name, seriesSamplesInput: { samples } });
assert.deepEqual([answer.accepted, answer.refused], [2, []]);
const window = await series.getSeriesRange({ key: name, from: "1767225600000", to: "2026-01-02T00:00:00Z" });
assert.deepEqual(window.samples.map(({ timestamp, value }) => ({ timestamp, value })), samples);

await documents.putJsonDocument({ key: name, body: { name: "Ada", limits: { daily_kwh: 40.5 } } });
await documents.patchJsonDocument({ key: name, body: { name: null, limits: { daily_kwh: 45 } } });
assert.deepEqual(await documents.getJsonDocument({ key: name }), { limits: { daily_kwh: 45 } });

const decision = await limits.checkLimit({ limitCheckRequest: { limiter: "orders", key: name } });
assert(decision.allowed && decision.remaining === decision.limit - 1);
const { items } = await limits.listLimiters();
const strategy = items.find((limiter) => limiter.name === "orders")?.strategy;
assert(strategy?.kind === "sliding_window" && strategy.limit === decision.limit);

const space = { total: 2 ** 40, used: 2 ** 39, usagePercent: 50 };
const agent = { ...space, available: 2 ** 39 };
const loadAvg = [0.52, 0.58, 0.61];
const heartbeat = {
    hostname: "web-1.example.org", agentVersion: "2.1.0", agentStatus: "running", uptime: 86_400,
    metrics: { cpu: { cores: 8, usage: 37.5, loadAvg }, memory: agent, disk: agent },
};
const beat = await hosts.postHeartbeat({
    hostHeartbeatRequest: { hostId: host, organizationSlug: "clients", heartbeat },
});
assert(beat.success);
const network = { bytesIn: 2 ** 33, bytesOut: 1, packetsIn: 2, packetsOut: 3 };
const [memory, disk] = [{ ...space, free: 2 ** 39 }, { ...space, free: 2 ** 39 }];
const accepted = await hosts.postHostMetrics({
    id: host, hostSampleInput: [{ cpu: { cores: 8, usage: 12.5, loadAvg }, memory, disk, network }],
});
assert.equal(accepted.accepted, 1);
const { metrics } = await hosts.getLatestHostMetrics({ id: host });
assert.deepEqual([metrics.cpu.usage, metrics.network.bytesIn], [12.5, 2 ** 33]);
