-- Change parts of the definition of one series that the module keeps.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- ARGV[1] retention_ms  integer, 0 for ever   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys;
--         each may be empty: it stays as it is
-- ARGV[4] min_life      integer, ms that a series outlives its last write at least
-- Returns 1, or 0 when there is no such series.   O(1)
assert(#KEYS == 2 and #ARGV == 4, 'module_alter: 2 keys, 4 arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', unpack(KEYS)) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
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
  local life = math.max(tonumber(ARGV[1]), tonumber(ARGV[4]))
  for _, key in ipairs(KEYS) do
    if ARGV[1] == '0' then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(life * 17 / 16)))
    end
  end
end
return 1
