-- Take the turn of a periodic job, unless another replica did so within the interval.
-- KEYS[1] last     integer, Unix ms: when a replica last took the turn or reported progress
-- ARGV[1] interval integer, ms, > 0      ARGV[2] now  integer, Unix ms; empty: use the clock of Redis
-- ARGV[3] held     integer, what this script last returned to the caller, who keeps the turn; empty: nothing
-- Returns the time under which the caller has the turn, Unix ms, else nil.   O(1)
assert(#KEYS == 1 and #ARGV == 3, 'take_turn: 1 key, 3 arguments')
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local last = tonumber(redis.call('GET', KEYS[1]) or '')
-- A time in the future comes from a clock that was set back since.
if last and last ~= tonumber(ARGV[3]) and last <= now and now - last < tonumber(ARGV[1]) then return false end
-- Changes nothing, but a full Redis permits the write behind it: jobs free memory, too.
redis.call('PERSIST', KEYS[1])
redis.call('SET', KEYS[1], string.format('%.0f', now))
return now
