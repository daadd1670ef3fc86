-- Delete the samples of a window from one series that the module keeps.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix ms, both inclusive
-- Returns {-1} when there is no such series, else {1, deleted, ''}. Samples past retention are left to the module.
-- O(samples of the window)
assert(#KEYS == 2 and #ARGV == 2, 'module_delete_range: 2 keys, 2 arguments')
local retention, rolled, unrolled = unpack(redis.call('HMGET', KEYS[1], 'retention_ms', 'rolled', 'unrolled'))
if not retention then
  if redis.call('EXISTS', unpack(KEYS)) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return {-1, 0, ''}
end
local newest = redis.call('TS.GET', KEYS[2])[1]
if not newest then return {1, 0, ''} end
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
retention = tonumber(retention)
if retention > 0 then from = math.max(from, newest - retention) end
if from > to then return {1, 0, ''} end
local deleted = redis.call('TS.DEL', KEYS[2], string.format('%.0f', from), string.format('%.0f', to))
-- What rollups hold of the window is no longer true.
rolled = tonumber(rolled or 0)
-- Who is filling them has read samples that retention hid, and shows again when the newest ones went: he begins anew.
if deleted > 0 and rolled > 0 then redis.call('HINCRBY', KEYS[1], 'revision', 1) end
if deleted > 0 and from < rolled then
  local changed = string.format('%.0f:%.0f,', from, math.min(to, rolled - 1))
  redis.call('HSET', KEYS[1], 'unrolled', (unrolled or '') .. changed)
end
return {1, deleted, ''}
