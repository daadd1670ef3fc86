-- Change parts of the definition of one series that the module keeps.
-- KEYS[1] series hash   KEYS[2] samples, the module's   KEYS[3] blocks hash      (all share a hash tag)
-- ARGV[1] retention_ms  integer, 0 for ever   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys;
--         each may be empty: it stays as it is
-- ARGV[4] min_life      integer, ms that a series outlives its last write at least
-- Returns 1, or 0 when there is no such series.   O(1)
assert(#KEYS == 3 and #ARGV == 4, 'module_alter: 3 keys, 4 arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return 0
end
for at, field in ipairs({'retention_ms', 'duplicate_policy', 'labels'}) do
  if ARGV[at] ~= '' then redis.call('HSET', KEYS[1], field, ARGV[at]) end
end
-- Until it is put under its new labels, every write tells that it is not.
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[1], 'listed') end
if ARGV[2] ~= '' then redis.call('TS.ALTER', KEYS[2], 'DUPLICATE_POLICY', ARGV[2]) end
if ARGV[1] ~= '' then
  redis.call('TS.ALTER', KEYS[2], 'RETENTION', ARGV[1])
  local rolled, outlive = unpack(redis.call('HMGET', KEYS[1], 'rolled', 'outlive'))
  if tonumber(rolled or 0) > 0 then
    -- Other samples are visible now: rollups are filled again.
    redis.call('HSET', KEYS[1], 'unrolled', '0:' .. string.format('%.0f', rolled - 1) .. ',')
    redis.call('HDEL', KEYS[1], 'trimmed', 'rolled_from')
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
  end
  local life = math.max(tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(outlive or 0))
  for _, key in ipairs(KEYS) do
    if ARGV[1] == '0' then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(life * 17 / 16)))
    end
  end
end
return 1
