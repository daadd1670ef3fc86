-- Create a series unless it exists.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   KEYS[4] blocks hash
--         (all share a hash tag)
-- ARGV[1] retention_ms  integer, 0 keeps all samples   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys
-- ARGV[4] min_life      integer, milliseconds: the series outlives its last write by at least this
-- ARGV[5] now           integer, Unix milliseconds; empty: Redis's own clock
-- ARGV[6] layout        'native' or 'module'
-- Returns 1 created, 2 exists with the same definition, 0 exists with another one.   O(1)
assert(#KEYS == 4 and #ARGV == 6, 'create: 4 keys, 6 arguments')
local in_module = ARGV[6] == 'module'
local existing = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'labels')
if existing[1] then
  if existing[1] ~= ARGV[1] or existing[2] ~= ARGV[2] or existing[3] ~= ARGV[3] then return 0 end
  redis.call('HDEL', KEYS[1], 'implied')
  return 2
end
if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
  return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
end
local now = ARGV[5]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
-- The module keeps all samples; writes trim them.
if in_module then redis.call('TS.CREATE', KEYS[2], 'DUPLICATE_POLICY', ARGV[2]) end
redis.call('HSET', KEYS[1], 'retention_ms', ARGV[1], 'duplicate_policy', ARGV[2], 'labels', ARGV[3], 'created', now)
if in_module then
  redis.call('DEL', KEYS[4])
else
  redis.call('HSET', KEYS[1], 'sealed', 0, 'sealed_bytes', 0)
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
end
local retention = tonumber(ARGV[1])
if retention > 0 then
  local ttl = string.format('%.0f', math.ceil(math.max(retention, tonumber(ARGV[4])) * 17 / 16))
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl)
end
return 1
