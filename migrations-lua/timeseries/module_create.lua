-- Create one series that the module keeps, unless it is there.
-- KEYS[1] series hash   KEYS[2] samples, the module's   KEYS[3] blocks hash      (all share a hash tag)
-- ARGV[1] retention_ms  integer, 0 for ever   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys
-- ARGV[4] min_life      integer, ms that a series outlives its last write at least
-- ARGV[5] now           integer, Unix ms, or empty for Redis TIME
-- Returns 1 created, 2 there with the same definition, 0 there with another one.   O(1)
assert(#KEYS == 3 and #ARGV == 5, 'module_create: 3 keys, 5 arguments')
local there = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'labels')
if there[1] then
  return there[1] == ARGV[1] and there[2] == ARGV[2] and there[3] == ARGV[3] and 2 or 0
end
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
local now = ARGV[5]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
redis.call('TS.CREATE', KEYS[2], 'RETENTION', ARGV[1], 'DUPLICATE_POLICY', ARGV[2])
redis.call('HSET', KEYS[1], 'retention_ms', ARGV[1], 'duplicate_policy', ARGV[2], 'labels', ARGV[3], 'created', now)
redis.call('DEL', KEYS[3])
local retention = tonumber(ARGV[1])
if retention > 0 then
  local life = string.format('%.0f', math.ceil(math.max(retention, tonumber(ARGV[4])) * 17 / 16))
  redis.call('PEXPIRE', KEYS[1], life)
  redis.call('PEXPIRE', KEYS[2], life)
end
return 1
