-- Write or delete the override of one key and change the version, by which replicas notice; or only change the version.
-- KEYS[1] overrides  hash: "<limiter> <key>" to "<end, Unix ms, or 0> <override, JSON>"; the empty field holds the version of
--                    the last change. At most ARGV[5] overrides.
-- ARGV[1] now, Unix ms, or empty for Redis's own clock     ARGV[2] field; empty: only change the version
-- ARGV[3] override; empty: delete it                       ARGV[4] TTL of the override, ms; 0: until it is deleted
-- ARGV[5] the maximum number of overrides
-- Returns {1, end} done   {0, 0} there are too many.   O(1); O(overrides) if there are too many
assert(#KEYS == 1 and #ARGV == 5, "set_override: 1 key, 5 arguments")
local key, field, override = KEYS[1], ARGV[2], ARGV[3]
local ttl, max = tonumber(ARGV[4]), tonumber(ARGV[5])
assert(ttl and ttl >= 0 and max and max > 0, "set_override: numbers")
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local now = math.floor(now_us / 1000)
local ends = ttl > 0 and now + ttl or 0

local previous = redis.call('HGET', key, '')
local function has_room()
  local count = redis.call('HLEN', key) - (previous and 1 or 0)
  return count < max or redis.call('HEXISTS', key, field) == 1
end
if field ~= '' and override ~= '' then
  if not has_room() then
    -- Overrides that have ended make room.
    local all = redis.call('HGETALL', key)
    for at = 1, #all, 2 do
      local over = tonumber(string.match(all[at + 1], '^(%d+) '))
      if all[at] ~= '' and over and over > 0 and over <= now then redis.call('HDEL', key, all[at]) end
    end
    if not has_room() then return {0, 0} end
  end
  redis.call('HSET', key, field, string.format('%.0f %s', ends, override))
else
  -- If its memory is full, Redis still accepts a script whose first write deletes something. The version is written below.
  redis.call('HDEL', key, '', field)
end
-- The version differs from every earlier one, even if the clock does not advance or Redis lost the last version.
redis.call('HSET', key, '', string.format('%.0f', math.max(now_us, (tonumber(previous) or 0) + 1)))
return {1, ends}
