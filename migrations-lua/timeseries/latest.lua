-- Read the newest sample of a series.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples      (both share a hash tag)
-- ARGV[1] layout  'native' or 'module'
-- Returns {-1} when the series does not exist, {0} when it has no samples, else {1, record}.   O(1)
assert(#KEYS == 2 and #ARGV == 1, 'latest: 2 keys, 1 argument')
local in_module = ARGV[1] == 'module'
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return {-1}
end
if in_module then
  local time, value = unpack(redis.call('TS.GET', KEYS[2]))
  if not time then return {0} end
  return {1, struct.pack('>I4I4d', 2147483648 + math.floor(time / 4294967296), time % 4294967296, tonumber(value.ok))}
end
local record = redis.call('GETRANGE', KEYS[2], -16, -1)
if record == '' then return {0} end
return {1, record}
