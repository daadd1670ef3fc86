-- Enter keys of a limiter into its list, as far as there is room.
-- KEYS[1] list  sorted set of keys as callers spell them, all of score 0
-- ARGV[1] the most keys     ARGV[2] life of the list, ms     ARGV[3..] the keys
-- Returns the number of keys listed.   O(keys * log list)
assert(#KEYS == 1 and #ARGV >= 2, "list: 1 key, 2 arguments and keys")
local most, life = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(most and most > 0 and life and life > 0, "list: numbers")
local count = redis.call('ZCARD', KEYS[1])
for at = 3, #ARGV do
  if count >= most then break end
  count = count + redis.call('ZADD', KEYS[1], 0, ARGV[at])
end
if count > 0 then redis.call('PEXPIRE', KEYS[1], life) end
return count
