-- Read the newest sample of one series.
-- KEYS[1] series hash   KEYS[2] head string      (both share a hash tag)
-- Returns {-1} when there is no such series, {0} when it has no samples, else {1, record}.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'latest: 2 keys, no arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return {-1}
end
local record = redis.call('GETRANGE', KEYS[2], -16, -1)
if record == '' then return {0} end
return {1, record}
