-- Take leases that ended out of the index, the longest ended first, a bounded number at a time.
-- KEYS[1] index  see relist.lua
-- ARGV[1] now, Unix ms, or empty for Redis's own clock     ARGV[2] how long a lease must have ended, ms
-- ARGV[3] the most to take out
-- Returns how many were taken out.   O(log entries + taken out)
assert(#KEYS == 1 and #ARGV == 3, "sweep: 1 key, 3 arguments")
local grace, most = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(grace and most and most > 0, "sweep: numbers")
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local before = string.format('%.0f', now_us - grace * 1000)
local ended = math.min(redis.call('ZCOUNT', KEYS[1], '-inf', before), most)
if ended > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, ended - 1) end
return ended
