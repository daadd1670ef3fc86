-- Change parts of the definition of a series.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   KEYS[4] blocks hash
--         (all share a hash tag)
-- ARGV[1] retention_ms  integer, 0 keeps all samples   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys;
--         an empty argument leaves its part unchanged
-- ARGV[4] min_life      integer, milliseconds: the series outlives its last write by at least this
-- ARGV[5] layout        'native' or 'module'
-- Returns 1, or 0 when the series does not exist.   O(1)
assert(#KEYS == 4 and #ARGV == 5, 'alter: 4 keys, 5 arguments')
local in_module = ARGV[5] == 'module'
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return 0
end
for at, field in ipairs({'retention_ms', 'duplicate_policy', 'labels'}) do
  if ARGV[at] ~= '' then redis.call('HSET', KEYS[1], field, ARGV[at]) end
end
-- Until the index has the new labels, every write reports that the series is not listed.
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[1], 'listed') end
if in_module and ARGV[2] ~= '' then redis.call('TS.ALTER', KEYS[2], 'DUPLICATE_POLICY', ARGV[2]) end
if ARGV[1] ~= '' then
  -- Writes trim the samples, not the module.
  if in_module and redis.call('HSETNX', KEYS[1], 'trims', 1) == 1 then redis.call('TS.ALTER', KEYS[2], 'RETENTION', 0) end
  local rolled, outlive = unpack(redis.call('HMGET', KEYS[1], 'rolled', 'outlive'))
  if tonumber(rolled or 0) > 0 then
    -- Other samples are visible now, so rollups are filled again.
    redis.call('HSET', KEYS[1], 'unrolled', '0:' .. string.format('%.0f', rolled - 1) .. ',')
    redis.call('HDEL', KEYS[1], 'trimmed', 'rolled_from', 'needed_from')
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
  end
  local ttl = math.max(tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(outlive or 0))
  for _, key in ipairs(KEYS) do
    if ARGV[1] == '0' then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(ttl * 17 / 16)))
    end
  end
end
return 1
