-- Delete one series with all its samples.
-- KEYS[1] series hash   KEYS[2] head string   KEYS[3] chunks sorted set   KEYS[4] blocks hash      (all share a hash tag)
-- Returns 1, or 0 when there is no such series.   O(1) here; the memory is freed in the background
assert(#KEYS == 4 and #ARGV == 0, 'delete: 4 keys, no arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return 0
end
redis.call('UNLINK', unpack(KEYS))
return 1
