-- Create one series, unless it is there.
-- KEYS[1] series hash   KEYS[2] head string   KEYS[3] chunks sorted set   KEYS[4] blocks hash      (all share a hash tag)
-- ARGV[1] retention_ms  integer, 0 for ever   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys
-- ARGV[4] min_life      integer, ms that a series outlives its last write at least
-- ARGV[5] now           integer, Unix ms, or empty for Redis TIME
-- Returns 1 created, 2 there with the same definition, 0 there with another one.   O(1)
assert(#KEYS == 4 and #ARGV == 5, 'create: 4 keys, 5 arguments')
local there = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'labels')
if there[1] then
  return there[1] == ARGV[1] and there[2] == ARGV[2] and there[3] == ARGV[3] and 2 or 0
end
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
local now = ARGV[5]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
redis.call('HSET', KEYS[1], 'retention_ms', ARGV[1], 'duplicate_policy', ARGV[2], 'labels', ARGV[3],
  'created', now, 'sealed', 0, 'sealed_bytes', 0)
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
local retention = tonumber(ARGV[1])
if retention > 0 then
  local life = math.max(retention, tonumber(ARGV[4]))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(life * 17 / 16)))
end
return 1
