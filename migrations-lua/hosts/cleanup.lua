-- Take the turn to clean up, unless some replica did so lately.
-- KEYS[1] last     integer, Unix ms: when a cleanup was last known to be at work
-- ARGV[1] interval integer, ms, > 0      ARGV[2] now  integer, Unix ms; empty: Redis's own clock
-- Returns 1 when the turn is the caller's, else 0.   O(1)
assert(#KEYS == 1 and #ARGV == 2, 'cleanup: 1 key, 2 arguments')
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local last = tonumber(redis.call('GET', KEYS[1]) or '')
-- A time to come is a clock's that was set back since.
if last and last <= now and now - last < tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f', now))
return 1
