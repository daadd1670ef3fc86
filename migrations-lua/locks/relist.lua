-- Bring the index of held locks up to date: new ends of leases in, released leases out, bounded in number and life.
-- KEYS[1] index  sorted set of resources by the end of their lease, Unix microseconds
-- ARGV[1] the most entries     ARGV[2] life of the index, ms
-- ARGV[3..] triples: 1 to list or 0 to take out, resource, end in microseconds. A lease is taken out only under the end
--           under which it was listed, so one that was granted anew meanwhile stays.
-- Returns the number of entries.   O(triples * log entries)
assert(#KEYS == 1 and #ARGV >= 2 and (#ARGV - 2) % 3 == 0, "relist: 1 key, 2 arguments and triples")
local limit, life = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(limit and limit > 0 and life and life > 0, "relist: numbers")
for at = 3, #ARGV, 3 do
  local resource, ends = ARGV[at + 1], ARGV[at + 2]
  if ARGV[at] == '1' then
    redis.call('ZADD', KEYS[1], 'GT', ends, resource)
  elseif tonumber(redis.call('ZSCORE', KEYS[1], resource) or '-1') == tonumber(ends) then
    redis.call('ZREM', KEYS[1], resource)
  end
end
local count = redis.call('ZCARD', KEYS[1])
if count > limit then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, count - limit - 1)
  count = limit
end
redis.call('PEXPIRE', KEYS[1], life)
return count
