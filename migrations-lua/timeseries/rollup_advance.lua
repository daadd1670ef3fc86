-- Have the rollups of one series hold all that is sealed, and all that has an eighth of its retention behind it; what is
-- new waits to be filled in.
-- KEYS[1] series hash   KEYS[2] head string      (both share a hash tag)
-- Returns 1, or 0 when the series has no rollups or nothing is new.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'rollup_advance: 2 keys, no arguments')
local rolled, unrolled, retention = unpack(redis.call('HMGET', KEYS[1], 'rolled', 'unrolled', 'retention_ms'))
local open, tail = redis.call('GETRANGE', KEYS[2], 1, 8), redis.call('GETRANGE', KEYS[2], -16, -9)
if not rolled or #open < 8 then return 0 end

local function timestamp(bytes)
  local high, low = struct.unpack('>I4I4', bytes)
  return (high - 2147483648) * 4294967296 + low
end

local start = timestamp(open)
if tonumber(retention) > 0 then start = math.max(start, timestamp(tail) - math.floor(retention / 8)) end
if start <= tonumber(rolled) then return 0 end
-- From here on, writes before `start` say what they change.
local added = rolled .. ':' .. string.format('%.0f', start - 1) .. ','
redis.call('HSET', KEYS[1], 'rolled', string.format('%.0f', start), 'unrolled', (unrolled or '') .. added)
return 1
