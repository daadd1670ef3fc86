-- Read all that admins decided for single keys, with the time.
-- KEYS[1] exceptions  hash: "<limiter> <key>" to "<end, Unix ms, or 0> <decision>"; the empty field holds the mark of the
--                     last change
-- ARGV[1] now, Unix ms, or empty for Redis's own clock
-- Returns {now, Unix ms, as text; field; value; ...}.   O(decisions)
assert(#KEYS == 1 and #ARGV == 1, "exceptions: 1 key, 1 argument")
local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local answer = redis.call('HGETALL', KEYS[1])
table.insert(answer, 1, now)
return answer
