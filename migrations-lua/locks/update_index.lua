-- Apply changes to the index of held locks, trim it to its limit and reset its TTL.
-- KEYS[1] index  sorted set of resources by the end of their lease, Unix microseconds
-- ARGV[1] maximum number of entries     ARGV[2] TTL of the index, ms
-- ARGV[3..] groups of four: event (granted, extended, released), resource, end of the lease in microseconds, and the
--           beginning of a granted lease in microseconds, else 0. A released lease is removed only if its end is still
--           the listed one, so a lease that was granted in the meantime stays.
-- Returns how many listed leases had expired when their resource was granted again.
-- O(changes * log entries)
assert(#KEYS == 1 and #ARGV >= 2 and (#ARGV - 2) % 4 == 0, "update_index: 1 key, 2 arguments and groups of four")
local limit, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(limit and limit > 0 and ttl and ttl > 0, "update_index: numbers")
local expired = 0
for at = 3, #ARGV, 4 do
  local event, resource, ends, began = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local listed = tonumber(redis.call('ZSCORE', KEYS[1], resource) or '')
  if event == 'released' then
    if listed == tonumber(ends) then redis.call('ZREM', KEYS[1], resource) end
  else
    -- If another replica has not recorded a release yet, the new lease began before the listed end; after an expiry,
    -- not.
    if event == 'granted' and listed and listed <= began then expired = expired + 1 end
    redis.call('ZADD', KEYS[1], 'GT', ends, resource)
  end
end
local count = redis.call('ZCARD', KEYS[1])
if count > limit then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, count - limit - 1) end
redis.call('PEXPIRE', KEYS[1], ttl)
return expired
