-- Have the rollups of one series hold all that is sealed; what is new waits to be filled in.
-- KEYS[1] series hash   KEYS[2] head string      (both share a hash tag)
-- Returns 1, or 0 when the series has no rollups or nothing new is sealed.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'rollup_advance: 2 keys, no arguments')
local rolled, unrolled = unpack(redis.call('HMGET', KEYS[1], 'rolled', 'unrolled'))
local open = redis.call('GETRANGE', KEYS[2], 1, 8)
if not rolled or #open < 8 then return 0 end
local high, low = struct.unpack('>I4I4', open)
local start = (high - 2147483648) * 4294967296 + low
if start <= tonumber(rolled) then return 0 end
-- From here on, writes before `start` say what they change.
local added = rolled .. ':' .. string.format('%.0f', start - 1) .. ','
redis.call('HSET', KEYS[1], 'rolled', string.format('%.0f', start), 'unrolled', (unrolled or '') .. added)
return 1
