-- Remove the oldest minutes of a window.
-- KEYS[1] index     sorted set, the minutes of the window        KEYS[2] dirty    sorted set, those that have changed
-- KEYS[3] minutes   hash, minute -> its trades
-- ARGV[1] before    integer, Unix ms: minutes before it are removed
-- ARGV[2] count     integer, the most minutes of this call
-- Returns the number of removed minutes.   O(count)
assert(#KEYS == 3 and #ARGV == 2, 'trim: 3 keys, 2 arguments')
local minutes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, minute in ipairs(minutes) do
  redis.call('HDEL', KEYS[3], minute)
  redis.call('ZREM', KEYS[2], minute)
  redis.call('ZREM', KEYS[1], minute)
end
return #minutes
