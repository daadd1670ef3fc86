// POST /ratelimit/check as a Node service: fastify, node-redis, one script call.
//
// node server.js PORT REDIS_URL SCRIPT: the script is that of the service, for the GCRA limiter of
// benches/service/ratelimit. The response has the same fields and the same two headers.
'use strict';

const { readFileSync } = require('node:fs');
const { createClient } = require('@redis/client');
const fastify = require('fastify');

const [port, url, script] = process.argv.slice(2);
const NAME = 'bench';
const BURST = 100_000_000;
// 10,000 calls per second.
const INTERVAL_US = 100;
const CAPACITY_US = BURST * INTERVAL_US;
const POLICY = `"${NAME}";q=${BURST};w=${CAPACITY_US / 1_000_000}`;

const body = {
  type: 'object',
  additionalProperties: false,
  required: ['limiter', 'key'],
  properties: {
    limiter: { type: 'string', const: NAME },
    key: { type: 'string', minLength: 1, maxLength: 512 },
    cost: { type: 'integer', minimum: 1, maximum: BURST, default: 1 },
  },
};
const result = {
  type: 'object',
  properties: {
    allowed: { type: 'boolean' },
    limit: { type: 'integer' },
    remaining: { type: 'integer' },
    reset_ms: { type: 'integer' },
    retry_after_ms: { type: 'integer' },
    degraded: { type: 'boolean' },
  },
};

// The state of the limit after a decision; `debt` is the debt before it, in microseconds.
function decision(granted, debt, cost) {
  const owed = granted ? debt + cost * INTERVAL_US : debt;
  const remaining = Math.max(Math.floor((CAPACITY_US - owed) / INTERVAL_US), 0);
  return {
    allowed: granted,
    limit: BURST,
    remaining,
    reset_ms: Math.ceil(owed / 1_000),
    retry_after_ms: granted ? 0 : Math.ceil((debt + cost * INTERVAL_US - CAPACITY_US) / 1_000),
    degraded: false,
  };
}

async function main() {
  const redis = createClient({ url });
  await redis.connect();
  const sha = await redis.scriptLoad(readFileSync(script, 'utf8'));
  const app = fastify();
  app.post('/ratelimit/check', { schema: { body, response: { 200: result } } }, async (request, reply) => {
    const { key, cost } = request.body;
    const [granted, , debt] = await redis.evalSha(sha, {
      keys: [`rate_limit:${NAME}:${key}`],
      arguments: ['', 'take', '1', 'flow', String(cost * INTERVAL_US), '0', '1', String(CAPACITY_US), '0'],
    });
    const outcome = decision(granted === 1, debt, cost);
    reply.header('ratelimit-policy', POLICY);
    reply.header('ratelimit', `"${NAME}";r=${outcome.remaining};t=${outcome.remaining < BURST ? 1 : 0}`);
    return outcome;
  });
  await app.listen({ host: '127.0.0.1', port: Number(port) });
}

main();
