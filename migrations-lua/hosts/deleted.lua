-- Keep samples out that were accepted before their host was deleted. The scripts that store samples begin with it.
-- KEYS[#KEYS] deleted  integer, Unix ms: see mark_deleted.lua; shares the slot of the other keys
-- ARGV[1] now  integer, Unix ms; empty: use the clock of Redis
-- ARGV[2] age  integer, ms, >= 0: how long ago the first of the samples was accepted
-- Returns the ms since the deletion, as a number below 0, if that is less than `age`: nothing is stored. Otherwise returns
--   what the script returns that follows, or nil.   O(1)
local age = tonumber(ARGV[2])
assert(#KEYS >= 1 and age, 'deleted: at least 1 key, 2 arguments')
local deleted = tonumber(redis.call('GET', KEYS[#KEYS]) or '')
if deleted then
  local now = tonumber(ARGV[1])
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  -- A time in the future comes from a clock that was set back since.
  if now >= deleted and now - deleted < age then return -math.max(now - deleted, 1) end
end
