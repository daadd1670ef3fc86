-- Replace the list of rollups of a series, unless it has changed.
-- KEYS[1] series hash   KEYS[2] head, or the module's samples   KEYS[3] chunks   KEYS[4] blocks hash
--         (all share a hash tag)
-- ARGV[1] current  the list to replace, JSON; empty for no rollups
-- ARGV[2] other    the new list, JSON; empty for no rollups; equal to `current` to check the fence only
-- ARGV[3] outlive  integer, milliseconds that the longest rollup outlives the last write
-- ARGV[4] dropped  the name of the rollup that the new list lacks; empty when one was added
-- Returns 1, 0 when the list is not `current`, or -1 when the series does not exist.   O(1), to drop one O(blocks)
assert(#KEYS == 4 and #ARGV == 4, 'rollup_define: 4 keys, 4 arguments')
local existing = redis.call('HMGET', KEYS[1], 'retention_ms', 'rollups', 'revision')
if not existing[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return -1
end
if (existing[2] or '') ~= ARGV[1] then return 0 end
if ARGV[2] == ARGV[1] then return 1 end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'rollups', 'rolled', 'unrolled', 'outlive', 'trimmed', 'rolled_from', 'behind',
    'needed_from', 'lost_from', 'backfilled')
  redis.call('HINCRBY', KEYS[1], 'revision', 1)
  redis.call('UNLINK', KEYS[4])
  return 1
end
redis.call('HSET', KEYS[1], 'rollups', ARGV[2], 'outlive', ARGV[3])
-- Later than all samples: none that a rollup was filled from was trimmed yet.
if ARGV[1] == '' then redis.call('HSET', KEYS[1], 'lost_from', '9007199254740992') end
-- It starts with the time, so that it differs when a series is deleted and created again.
if not existing[3] then redis.call('HSET', KEYS[1], 'revision', redis.call('TIME')[1]) end
redis.call('HINCRBY', KEYS[1], 'revision', 1)
if ARGV[4] ~= '' then
  redis.call('HDEL', KEYS[4], ARGV[4])
  for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
    if field:sub(1, #ARGV[4] + 1) == ARGV[4] .. '@' then redis.call('HDEL', KEYS[4], field) end
  end
  return 1
end
-- Nothing is filled yet. A replica that fills rollups moves `rolled` forward first.
redis.call('HSET', KEYS[1], 'rolled', 1, 'unrolled', '0:0,')
redis.call('HDEL', KEYS[1], 'trimmed', 'rolled_from', 'needed_from')
-- A series lives longer than its retention while its newest sample is ahead of the clock.
local left, outlive = redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])
local ttl = outlive + math.max(left - tonumber(existing[1]), 0)
if left >= 0 and left < ttl then
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(ttl * 17 / 16))) end
end
return 1
