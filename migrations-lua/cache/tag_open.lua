-- Read the generation of a tag before a value is written with it, and keep the tag at least as long as the value.
-- KEYS[1] tag
-- ARGV[1] ttl  integer, milliseconds, > 0; at least the TTL of the value
-- Returns the generation as text.   O(1)
assert(#KEYS == 1 and #ARGV == 1, 'tag_open: 1 key, 1 argument')
local ttl = tonumber(ARGV[1])
assert(ttl and ttl > 0, 'tag_open: ttl is an integer above 0')
local generation = redis.call('GET', KEYS[1])
if not generation then
  -- The time serves as a number that is never reused, so values with a lost tag stay invalid.
  local time = redis.call('TIME')
  generation = string.format('%s%06d', time[1], time[2])
  redis.call('SET', KEYS[1], generation, 'PX', ARGV[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[1], 'GT')
end
return generation
