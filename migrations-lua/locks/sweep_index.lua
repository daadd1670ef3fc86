-- Remove expired leases from the index, oldest first, a bounded number per call.
-- KEYS[1] index  see update_index.lua
-- ARGV[1] now, Unix ms, or empty for Redis's own clock     ARGV[2] how long ago a lease must have ended, ms
-- ARGV[3] maximum number to remove
-- Returns {how many were removed, how many leases have not ended}.   O(log entries + removed)
assert(#KEYS == 1 and #ARGV == 3, "sweep_index: 1 key, 3 arguments")
local grace, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(grace and limit and limit > 0, "sweep_index: numbers")
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local before = string.format('%.0f', now_us - grace * 1000)
local ended = math.min(redis.call('ZCOUNT', KEYS[1], '-inf', before), limit)
if ended > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, ended - 1) end
return {ended, redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now_us), '+inf')}
