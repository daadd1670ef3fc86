-- Invalidate all values with a tag by raising the generation of the tag.
-- KEYS[1] tag
-- Returns 1, or 0 if the tag is unknown: then no value with it is valid, and nothing is stored.   O(1)
assert(#KEYS == 1 and #ARGV == 0, 'tag_raise: 1 key, no arguments')
local generation = redis.call('GET', KEYS[1])
if not generation then
  return 0
end
-- A number that is never reused, even if the tag was lost: Redis's time in microseconds, or the previous number plus one
-- if the clock was set back.
local time = redis.call('TIME')
local now = string.format('%s%06d', time[1], time[2])
if tonumber(now) <= tonumber(generation) then
  redis.call('INCR', KEYS[1])
else
  redis.call('SET', KEYS[1], now, 'KEEPTTL')
end
return 1
