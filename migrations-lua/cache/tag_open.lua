-- Read the generation of a tag before a value is written with it, and keep the tag at least as long as the value.
-- KEYS[1] tag   KEYS[2] time of its last invalidation
-- ARGV[1] ttl    integer, milliseconds, > 0; at least the TTL of the value
-- ARGV[2] since  integer, when the value's lease was granted, microseconds by the same clock as here; 0: there is no lease,
--                or the value is on another node
-- Returns {generation, age}: the generation as text, or '0' if the tag was invalidated since the lease was granted, and the
--   microseconds since it was invalidated, -1 if that is not known.   O(1)
assert(#KEYS == 2 and #ARGV == 2, 'tag_open: 2 keys, 2 arguments')
local ttl, since = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(ttl and ttl > 0 and since, 'tag_open: ttl is an integer above 0, since is an integer')
local raised, age = tonumber(redis.call('GET', KEYS[2]) or ''), -1
if raised then
  if since > 0 and raised >= since then
    return { '0', 0 }
  end
  local time = redis.call('TIME')
  age = math.max(time[1] * 1000000 + time[2] - raised, 0)
end
local generation = redis.call('GET', KEYS[1])
if not generation then
  -- The time serves as a number that is never reused, so values with a lost tag stay invalid.
  local time = redis.call('TIME')
  generation = string.format('%s%06d', time[1], time[2])
  redis.call('SET', KEYS[1], generation, 'PX', ARGV[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[1], 'GT')
end
return { generation, age }
