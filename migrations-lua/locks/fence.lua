-- The fencing tokens of one lock, with which every script that grants one begins.
-- KEYS[1] lease  KEYS[2] fence: see acquire.lua
-- KEYS[3] ahead  integer text, a token that was granted while the clock was ahead; expires after the clock has passed it
-- ARGV[1] now, Unix ms, or empty for Redis's own clock        ARGV[2] TTL of the fence, ms
-- Returns what the script returns that follows.   O(1)
assert(#KEYS >= 3 and #ARGV >= 2, "fence: at least 3 keys and 2 arguments")
local lease, fence, ahead, fence_ms = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[2])
assert(fence_ms, "fence: TTL")
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local now = math.floor(now_us / 1000)
local function text(number)
  return string.format('%.0f', number)
end

-- The highest token that a target may have accepted or may accept now; the next grant has a larger one.
--
-- Targets accept tokens up to an hour ahead of the clock (redis/fence.lua). A token beyond that was granted before the clock
-- was set back. Ten minutes more, and its holder's lease is over before a target accepts it, so that new grants need not
-- exceed it yet: they follow the largest token that a target on a slightly slower server accepts. Once the clock has come
-- within an hour of it, it counts again.
local function highest_token()
  local highest = tonumber(redis.call('GET', fence) or '') or 0
  local beyond = tonumber(redis.call('GET', ahead) or '') or 0
  if highest > now_us + 4200000000 then
    if highest > beyond then
      beyond = highest
      redis.call('SET', ahead, text(beyond), 'PX', text(math.ceil((beyond - now_us) / 1000) + fence_ms))
    end
    highest = now_us + 3590000000
  end
  return beyond <= now_us + 3600000000 and math.max(highest, beyond) or highest
end

-- The token of the next grant, or of a forced release.
local function next_token()
  return math.max(highest_token() + 1, now_us)
end
