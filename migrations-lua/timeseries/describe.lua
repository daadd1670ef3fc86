-- Describe a series.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   (all share a hash tag)
-- ARGV[1] layout  'native' or 'module'
-- ARGV[2] now     integer, Unix milliseconds; empty: Redis's own clock
-- Returns {-1} when the series does not exist, else {retention_ms, duplicate_policy, labels, created, count, chunks,
-- bytes, first, last, packed}, the last three only when it has samples. Samples past retention are not counted, even
-- while their chunk still exists. One exception: the samples of a packed chunk in which retention ends are all counted,
-- and `packed` is that chunk, so that the caller can correct `count` and `first`; otherwise `packed` is empty.
-- O(log(chunks) + e * chunk size) for e expired chunks, e <= MAX_EXPIRED; in the module O(expired samples not yet
-- freed)
assert(#KEYS == 3 and #ARGV == 2, 'describe: 3 keys, 2 arguments')
local PACKED, RECORD, MAX_EXPIRED = 2, 16, 1024
local in_module = ARGV[1] == 'module'

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function clock()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local fields = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'labels', 'created', 'sealed', 'sealed_bytes')
if not fields[1] then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return {-1}
end
local retention = tonumber(fields[1])
local reply = {retention, fields[2], fields[3], tonumber(fields[4]), 0, 0, 0}
local head, last = nil, nil
if in_module then
  last = redis.call('TS.GET', KEYS[2])[1]
else
  head = redis.call('GET', KEYS[2])
  last = head and timestamp(head, #head - RECORD + 1)
end
if not last then return reply end
local floor = retention > 0 and math.max(math.min(last, clock()) - retention, 0) or 0
reply[9], reply[10] = last, ''

if in_module then
  local info, pairs_of_info = {}, redis.call('TS.INFO', KEYS[2])
  for at = 1, #pairs_of_info, 2 do info[pairs_of_info[at].ok or pairs_of_info[at]] = pairs_of_info[at + 1] end
  reply[5], reply[6], reply[7] = info.totalSamples, info.chunkCount, info.memoryUsage
  if floor > 0 then
    -- One bucket counts the samples that are not trimmed yet.
    local before = string.format('%.0f', floor - 1)
    local expired = redis.call('TS.RANGE', KEYS[2], 0, before, 'AGGREGATION', 'count', '9007199254740991')[1]
    if expired then reply[5] = reply[5] - tonumber(expired[2].ok) end
  end
  reply[8] = redis.call('TS.RANGE', KEYS[2], string.format('%.0f', floor), '+', 'COUNT', 1)[1][1]
  return reply
end

local count = tonumber(fields[5]) + (#head - 1) / RECORD
reply[6], reply[7] = redis.call('ZCARD', KEYS[3]) + 1, #head + tonumber(fields[6])

-- Subtracts the expired records of a plain chunk from the count; returns the first timestamp within retention, or nil.
local function first_visible(bytes)
  for at = 2, #bytes, RECORD do
    local time = timestamp(bytes, at)
    if time >= floor then return time end
    count = count - 1
  end
end

local first = nil
for at = 0, MAX_EXPIRED do
  local chunk = redis.call('ZRANGE', KEYS[3], at, at)[1]
  if chunk and chunk:byte(1) == PACKED then
    if timestamp(chunk, 2) >= floor then
      first = timestamp(chunk, 2)
    elseif timestamp(chunk, 10) >= floor then
      first, reply[10] = floor, chunk
    else
      count = count - struct.unpack('>I4', chunk, 18)
    end
  else
    first = first_visible(chunk or head)
  end
  if first or not chunk then break end
end
reply[5], reply[8] = count, first or floor
return reply
