-- Add keys of a limiter to its index, as long as it has room, and reset the TTL of the index.
-- KEYS[1] index  sorted set of keys as requests spell them, all with score 0
-- ARGV[1] the maximum number of keys     ARGV[2] TTL of the index, ms     ARGV[3..] the keys
-- Returns the number of keys in the index.   O(keys * log index)
assert(#KEYS == 1 and #ARGV >= 2, "index_keys: 1 key, 2 arguments and keys")
local max, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(max and max > 0 and ttl and ttl > 0, "index_keys: numbers")
local count = redis.call('ZCARD', KEYS[1])
for at = 3, #ARGV do
  if count >= max then break end
  count = count + redis.call('ZADD', KEYS[1], 0, ARGV[at])
end
if count > 0 then redis.call('PEXPIRE', KEYS[1], ttl) end
return count
