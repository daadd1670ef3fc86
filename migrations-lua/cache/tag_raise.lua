-- Invalidate all values with a tag by raising the generation of the tag.
-- KEYS[1] tag   KEYS[2] time of its last invalidation
-- ARGV[1] retention  integer, milliseconds that the time is kept: longer than the longest lease
-- Returns 1, or 0 if the tag is unknown: then no value with it is valid, and only the time is stored, for values that are
--   being rebuilt.   O(1)
assert(#KEYS == 2 and #ARGV == 1, 'tag_raise: 2 keys, 1 argument')
assert(tonumber(ARGV[1]), 'tag_raise: retention is an integer')
local generation, left = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
-- A number that is never reused, even if the tag was lost: Redis's time in microseconds, or the previous number plus one
-- if the clock was set back.
local time = redis.call('TIME')
local now = string.format('%s%06d', time[1], time[2])
-- At maxmemory Redis refuses a command that can take memory, unless the script has written before. Invalidations must
-- work then: the script begins with a deletion.
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('SET', KEYS[2], now, 'PX', ARGV[1])
if not generation then
  return 0
end
redis.call('SET', KEYS[1], generation)
if tonumber(now) <= tonumber(generation) then
  redis.call('INCR', KEYS[1])
else
  redis.call('SET', KEYS[1], now)
end
if left >= 0 then
  redis.call('PEXPIRE', KEYS[1], math.max(left, 1))
end
return 1
