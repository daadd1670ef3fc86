-- Have the rollups of one series that the module keeps hold all that is older than its newest sample; what is new waits
-- to be filled in.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- Returns 1, or 0 when the series has no rollups or nothing is new.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'module_rollup_advance: 2 keys, no arguments')
local rolled, unrolled = unpack(redis.call('HMGET', KEYS[1], 'rolled', 'unrolled'))
if not rolled then return 0 end
local newest = redis.call('TS.GET', KEYS[2])[1]
if not newest or newest <= tonumber(rolled) then return 0 end
-- From here on, writes before `newest` say what they change.
local added = rolled .. ':' .. string.format('%.0f', newest - 1) .. ','
redis.call('HSET', KEYS[1], 'rolled', string.format('%.0f', newest), 'unrolled', (unrolled or '') .. added, 'behind', 0)
return 1
