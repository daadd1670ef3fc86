-- Count the bytes of a response that is to be recorded, unless its caller has had too many recorded.
-- KEYS[1] kept    integer, the bytes that were counted for the caller; expires a retention after the first of them
-- ARGV[1] bytes   integer, > 0     ARGV[2] most  integer, bytes     ARGV[3] retention  integer, milliseconds, > 0
-- Returns 1 if they are counted, 0 if the response must not be recorded.   O(1)
assert(#KEYS == 1 and #ARGV == 3, "count: 1 key, 3 arguments")
local bytes, most = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(bytes and most, "count: numbers")
local kept = tonumber(redis.call('GET', KEYS[1]) or '') or 0
if kept + bytes > most then return 0 end
if kept == 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
else
  redis.call('INCRBY', KEYS[1], ARGV[1])
end
return 1
