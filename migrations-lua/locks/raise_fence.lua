-- Raise the fence of a lease to the highest fencing token that any lock node gave to the same grant.
-- KEYS[1] lease  KEYS[2] fence  KEYS[3] holder: see acquire.lua
-- ARGV[1] token   ARGV[2] fencing token   ARGV[3] TTL of the fence, ms
-- Returns 1 if the token holds the lease and the fence is that token now, else 0.   O(1)
assert(#KEYS == 3 and #ARGV == 3, "raise_fence: 3 keys, 3 arguments")
local fencing, fence_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(fencing and fence_ms, "raise_fence: numbers")
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local highest = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
if highest > fencing then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', fence_ms)
redis.call('HSET', KEYS[3], 'fence', ARGV[2])
return 1
