-- Remove the oldest minutes of a window, unless its minutes are kept as files.
-- KEYS[1] index     sorted set, the minutes of the window        KEYS[2] dirty    sorted set, those that have changed
-- KEYS[3] minutes   hash, minute -> its trades                   KEYS[4] state    hash: store, the directory of the files
-- ARGV[1] before    integer, Unix ms: minutes before it are removed
-- ARGV[2] count     integer, the most minutes of this call
-- Returns the number of removed minutes.   O(count)
assert(#KEYS == 4 and #ARGV == 2, 'trim: 4 keys, 2 arguments')
if redis.call('HEXISTS', KEYS[4], 'store') == 1 then return 0 end
local minutes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, minute in ipairs(minutes) do
  redis.call('HDEL', KEYS[3], minute)
  redis.call('ZREM', KEYS[2], minute)
  redis.call('ZREM', KEYS[1], minute)
end
return #minutes
