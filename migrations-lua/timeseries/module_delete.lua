-- Delete one series that the module keeps, with all its samples.
-- KEYS[1] series hash   KEYS[2] samples, the module's   KEYS[3] blocks hash      (all share a hash tag)
-- Returns 1, or 0 when there is no such series.   O(1) here; the memory is freed in the background
assert(#KEYS == 3 and #ARGV == 0, 'module_delete: 3 keys, no arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return 0
end
redis.call('UNLINK', unpack(KEYS))
return 1
