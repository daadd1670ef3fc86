-- Bring the index of held locks up to date: new ends of leases in, released leases out, bounded in number and life.
-- KEYS[1] index  sorted set of resources by the end of their lease, Unix microseconds
-- ARGV[1] the most entries     ARGV[2] life of the index, ms
-- ARGV[3..] fours: what happened (granted, extended, released), resource, end in microseconds, and the beginning of a
--           granted lease in microseconds, else 0. A lease is taken out only under the end under which it was listed, so
--           one that was granted anew meanwhile stays.
-- Returns how many listed leases had ended, unreleased, when their resource was granted anew.
-- O(fours * log entries)
assert(#KEYS == 1 and #ARGV >= 2 and (#ARGV - 2) % 4 == 0, "relist: 1 key, 2 arguments and fours")
local limit, life = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(limit and limit > 0 and life and life > 0, "relist: numbers")
local ended = 0
for at = 3, #ARGV, 4 do
  local happened, resource, ends, began = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local listed = tonumber(redis.call('ZSCORE', KEYS[1], resource) or '')
  if happened == 'released' then
    if listed == tonumber(ends) then redis.call('ZREM', KEYS[1], resource) end
  else
    -- A release that other replicas have yet to write down came before the listed end, an expiry at it.
    if happened == 'granted' and listed and listed <= began then ended = ended + 1 end
    redis.call('ZADD', KEYS[1], 'GT', ends, resource)
  end
end
local count = redis.call('ZCARD', KEYS[1])
if count > limit then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, count - limit - 1) end
redis.call('PEXPIRE', KEYS[1], life)
return ended
