-- Read all overrides, with the time.
-- KEYS[1] overrides  hash: "<limiter> <key>" to "<end, Unix ms, or 0> <override, JSON>"; the empty field holds the version of
--                    the last change
-- ARGV[1] now, Unix ms, or empty for Redis's own clock
-- Returns {now, Unix ms, as text; field; value; ...}.   O(overrides)
assert(#KEYS == 1 and #ARGV == 1, "read_overrides: 1 key, 1 argument")
local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, now)
return reply
