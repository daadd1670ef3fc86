-- Invalidate every value under a tag by raising its generation.
-- KEYS[1] tag
-- Returns 1, or 0 when the tag is unknown: then no value under it is valid, and nothing is stored.   O(1)
assert(#KEYS == 1 and #ARGV == 0, 'tag_raise: 1 key, no arguments')
local generation = redis.call('GET', KEYS[1])
if not generation then
  return 0
end
-- A number that never comes again, even after the tag was lost: Redis's time in microseconds, or one more than before
-- when the clock was set back.
local time = redis.call('TIME')
local now = string.format('%s%06d', time[1], time[2])
if tonumber(now) <= tonumber(generation) then
  redis.call('INCR', KEYS[1])
else
  redis.call('SET', KEYS[1], now, 'KEEPTTL')
end
return 1
