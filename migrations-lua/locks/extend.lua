-- Extend a lease if the token still holds the lock; a lease is never shortened.
-- KEYS[1] lease  KEYS[2] holder: see acquire.lua
-- ARGV[1] token   ARGV[2] ttl, ms, from now      ARGV[3] now, Unix ms, or empty for Redis's own clock
-- Returns {1, remaining_ms, fence, ends_us} extended; {0, 0, '', ''} the lock is free;
--         {2, 0, '', ''} another token holds it.   O(1)
assert(#KEYS == 2 and #ARGV == 3, "extend: 2 keys, 3 arguments")
local lease, holder, ttl = KEYS[1], KEYS[2], tonumber(ARGV[2])
assert(ttl and ttl > 0, "extend: numbers")
local held = redis.call('GET', lease)
if not held then return {0, 0, '', ''} end
if held ~= ARGV[1] then return {2, 0, '', ''} end
local remaining = redis.call('PTTL', lease)
local known = redis.call('HMGET', holder, 'fence', 'ends_us')
if remaining >= ttl then return {1, remaining, known[1] or '', known[2] or ''} end
local now_us
if ARGV[3] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[3] * 1000
end
local ends_us = string.format('%.0f', now_us + ttl * 1000)
redis.call('PEXPIRE', lease, ttl)
if known[1] then
  redis.call('HSET', holder, 'ends_us', ends_us)
  redis.call('PEXPIRE', holder, ttl)
end
return {1, ttl, known[1] or '', ends_us}
