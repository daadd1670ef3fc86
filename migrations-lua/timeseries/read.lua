-- Read the chunks that hold a window of a series, from one end of the window.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   (all share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix milliseconds, both inclusive
-- ARGV[3] limit  integer, >= 1: how many sealed chunks at most; in the module how many samples
-- ARGV[4] order  'asc' or 'desc'
-- ARGV[5] layout 'native' or 'module'
-- ARGV[6] now    integer, Unix milliseconds; empty: Redis's own clock
-- ARGV[7] kept   1 to read also samples that retention hides but rollups still need, else 0
-- Returns {-1} when the series does not exist, else {done, floor, chunk, ...}: 1 when the window's other end was
-- reached, else 0; the oldest timestamp that may be read; the chunks, whole, in the requested order. The caller leaves
-- out records outside the window or below the floor. The module's samples are one plain chunk in ascending order.
-- O(log(chunks) + limit * chunk size); in the module O(log(chunks) + limit)
assert(#KEYS == 3 and #ARGV == 7, 'read: 3 keys, 7 arguments')
local RECORD = 16
local in_module = ARGV[5] == 'module'

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function clock()
  if ARGV[6] ~= '' then return tonumber(ARGV[6]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local retention, untrimmed = unpack(redis.call('HMGET', KEYS[1], 'retention_ms', 'untrimmed_from'))
retention = retention and tonumber(retention)
if not retention then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return {-1}
end
local head, newest
if in_module then
  newest = redis.call('TS.GET', KEYS[2])[1]
else
  head = redis.call('GET', KEYS[2])
  newest = head and timestamp(head, #head - RECORD + 1)
end
if not newest then return {1, 0} end

local floor = retention > 0 and math.max(math.min(newest, clock()) - retention, 0) or 0
if ARGV[7] == '1' and untrimmed then floor = math.min(floor, tonumber(untrimmed)) end
local from, to, limit = math.max(tonumber(ARGV[1]), floor), tonumber(ARGV[2]), tonumber(ARGV[3])
if from > to then return {1, floor} end
local low, high = string.format('%.0f', from), string.format('%.0f', to)
local is_descending = ARGV[4] == 'desc'

if in_module then
  -- TS.REVRANGE without EMPTY, which some versions of the module answer wrongly.
  local found = redis.call(is_descending and 'TS.REVRANGE' or 'TS.RANGE', KEYS[2], low, high, 'COUNT', ARGV[3])
  if #found == 0 then return {1, floor} end
  local records = {}
  for at, sample in ipairs(found) do
    local time = sample[1]
    records[is_descending and #found - at + 1 or at] = struct.pack('>I4I4d', 2147483648 + math.floor(time / 4294967296),
      time % 4294967296, tonumber(sample[2].ok))
  end
  return {#found < limit and 1 or 0, floor, '\1' .. table.concat(records)}
end

local head_matches = timestamp(head, 2) <= to
-- The chunk that contains `from` starts before it.
local first = redis.call('ZREVRANGEBYSCORE', KEYS[3], low, '-inf', 'LIMIT', 0, 1)[1]

local reply = {1, floor}
if is_descending then
  if head_matches then reply[3] = head end
  -- When the head reaches below the window, no sealed chunk holds a part of it.
  if timestamp(head, 2) > from then
    local oldest = first and string.format('%.0f', timestamp(first, 2)) or '-inf'
    local rest = redis.call('ZREVRANGEBYSCORE', KEYS[3], high, oldest, 'LIMIT', 0, limit)
    for _, chunk in ipairs(rest) do reply[#reply + 1] = chunk end
    if #rest == limit then reply[1] = 0 end
  end
else
  reply[3] = first
  local rest = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. low, high, 'LIMIT', 0, limit)
  for _, chunk in ipairs(rest) do reply[#reply + 1] = chunk end
  if #rest == limit then
    reply[1] = 0
  elseif head_matches then
    reply[#reply + 1] = head
  end
end
return reply
