-- Read the newest sample of one series that the module keeps.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- Returns {-1} when there is no such series, {0} when it has no samples, else {1, record}.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'module_latest: 2 keys, no arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', unpack(KEYS)) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return {-1}
end
local time, value = unpack(redis.call('TS.GET', KEYS[2]))
if not time then return {0} end
return {1, struct.pack('>I4I4d', 2147483648 + math.floor(time / 4294967296), time % 4294967296, tonumber(value.ok))}
