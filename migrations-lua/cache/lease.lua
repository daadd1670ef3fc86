-- Grant one client the lease to rebuild a missing value.
-- KEYS[1] value   KEYS[2] lease   KEYS[3] stale copy
-- ARGV[1] random    32 hexadecimal digits
-- ARGV[2] lease     integer, milliseconds, > 0
-- Returns {'granted', 0, token}, {'exists', 0, ''} if the value exists by now, or
--   {'held', remaining ms of the lease, bytes of the stale copy, or ''}. The first 14 digits of the token are the time of
--   this node in microseconds, with which a later invalidation is compared.   O(1)
assert(#KEYS == 3 and #ARGV == 2, 'lease: 3 keys, 2 arguments')
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'exists', 0, '' }
end
local time = redis.call('TIME')
local token = string.format('%014x', time[1] * 1000000 + time[2]) .. string.sub(ARGV[1], 15)
if redis.call('SET', KEYS[2], token, 'NX', 'PX', ARGV[2]) then
  return { 'granted', 0, token }
end
return { 'held', math.max(redis.call('PTTL', KEYS[2]), 0), redis.call('GET', KEYS[3]) or '' }
