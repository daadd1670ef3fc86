-- Delete a series with all its samples.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   KEYS[4] blocks hash
--         (all share a hash tag)
-- ARGV[1] layout  'native' or 'module'
-- Returns 1, or 0 when the series does not exist.   O(1); Redis frees the memory in the background
assert(#KEYS == 4 and #ARGV == 1, 'delete: 4 keys, 1 argument')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', unpack(KEYS, 1, ARGV[1] == 'module' and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return 0
end
redis.call('UNLINK', unpack(KEYS))
return 1
