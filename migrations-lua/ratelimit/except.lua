-- Write down what an admin decided for one key, or take it back, and tell all replicas; or only tell them.
-- KEYS[1] exceptions  hash: "<limiter> <key>" to "<end, Unix ms, or 0> <decision>"; the empty field holds the mark of the
--                     last change. At most ARGV[5] decisions.
-- ARGV[1] now, Unix ms, or empty for Redis's own clock     ARGV[2] field; empty: only tell
-- ARGV[3] decision; empty: take it back                    ARGV[4] life of the decision, ms; 0: until it is taken back
-- ARGV[5] the most decisions
-- Returns {1, end} done   {0, 0} there are too many.   O(1); O(decisions) when they are too many
assert(#KEYS == 1 and #ARGV == 5, "except: 1 key, 5 arguments")
local key, field, decision = KEYS[1], ARGV[2], ARGV[3]
local life, most = tonumber(ARGV[4]), tonumber(ARGV[5])
assert(life and life >= 0 and most and most > 0, "except: numbers")
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local now = math.floor(now_us / 1000)
local ends = life > 0 and now + life or 0

local former = redis.call('HGET', key, '')
local function has_room()
  local count = redis.call('HLEN', key) - (former and 1 or 0)
  return count < most or redis.call('HEXISTS', key, field) == 1
end
if field ~= '' and decision ~= '' then
  if not has_room() then
    -- Decisions that have ended take no room.
    local all = redis.call('HGETALL', key)
    for at = 1, #all, 2 do
      local over = tonumber(string.match(all[at + 1], '^(%d+) '))
      if all[at] ~= '' and over and over > 0 and over <= now then redis.call('HDEL', key, all[at]) end
    end
    if not has_room() then return {0, 0} end
  end
  redis.call('HSET', key, field, string.format('%.0f %s', ends, decision))
elseif field ~= '' then
  redis.call('HDEL', key, field)
end
-- The mark differs from every one before, also when the clock stands still or Redis forgot the last one.
redis.call('HSET', key, '', string.format('%.0f', math.max(now_us, (tonumber(former) or 0) + 1)))
return {1, ends}
