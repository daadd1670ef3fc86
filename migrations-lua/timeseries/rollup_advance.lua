-- Move forward the time before which the rollups of a series are filled; the range that is new is noted as not filled
-- yet. A native series moves it past all sealed chunks, and past samples older than an eighth of the retention; a
-- series of the module past all samples but the newest.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples      (both share a hash tag)
-- ARGV[1] layout  'native' or 'module'
-- ARGV[2] now     integer, Unix milliseconds; empty: Redis's own clock
-- Returns 1, or 0 when the series has no rollups or nothing is new.   O(1)
assert(#KEYS == 2 and #ARGV == 2, 'rollup_advance: 2 keys, 2 arguments')
local in_module = ARGV[1] == 'module'
local rolled, unrolled, retention = unpack(redis.call('HMGET', KEYS[1], 'rolled', 'unrolled', 'retention_ms'))
if not rolled then return 0 end

local function timestamp(bytes)
  local high, low = struct.unpack('>I4I4', bytes)
  return (high - 2147483648) * 4294967296 + low
end

local function clock()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local start
if in_module then
  start = redis.call('TS.GET', KEYS[2])[1]
  if not start then return 0 end
else
  local first, last = redis.call('GETRANGE', KEYS[2], 1, 8), redis.call('GETRANGE', KEYS[2], -16, -9)
  if #first < 8 then return 0 end
  start = timestamp(first)
  if tonumber(retention) > 0 then start = math.max(start, math.min(timestamp(last), clock()) - math.floor(retention / 8)) end
end
if start <= tonumber(rolled) then return 0 end
-- From here on, every write before `start` notes what it changes.
local added = rolled .. ':' .. string.format('%.0f', start - 1) .. ','
redis.call('HSET', KEYS[1], 'rolled', string.format('%.0f', start), 'unrolled', (unrolled or '') .. added)
if in_module then redis.call('HSET', KEYS[1], 'behind', 0) end
return 1
