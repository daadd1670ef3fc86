-- Read the chunks that hold a window of one series, from one end of the window on.
-- KEYS[1] series hash   KEYS[2] head string   KEYS[3] chunks sorted set      (all three share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix ms, both inclusive
-- ARGV[3] limit  integer, sealed chunks at most, >= 1
-- ARGV[4] order  'asc' or 'desc'
-- Returns {-1} when there is no such series, else {done, floor, chunk, ...}: whether the window's other end was reached,
-- the oldest timestamp that retention still shows, and the chunks, whole, in the asked order; records outside the
-- window or below the floor are the caller's to leave out.   O(log(chunks) + limit * chunk size)
assert(#KEYS == 3 and #ARGV == 4, 'read: 3 keys, 4 arguments')
local RECORD = 16

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local retention = redis.call('HGET', KEYS[1], 'retention_ms')
if not retention then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return {-1}
end
local head = redis.call('GET', KEYS[2])
if not head then return {1, 0} end

local from, to, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local floor = 0
if tonumber(retention) > 0 then floor = math.max(timestamp(head, #head - RECORD + 1) - tonumber(retention), 0) end
from = math.max(from, floor)
if from > to then return {1, floor} end

local low, high = string.format('%.0f', from), string.format('%.0f', to)
local head_matches = timestamp(head, 2) <= to
-- The chunk that `from` falls into starts before it.
local first = redis.call('ZREVRANGEBYSCORE', KEYS[3], low, '-inf', 'LIMIT', 0, 1)[1]

local reply = {1, floor}
if ARGV[4] == 'asc' then
  reply[3] = first
  local rest = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. low, high, 'LIMIT', 0, limit)
  for _, chunk in ipairs(rest) do reply[#reply + 1] = chunk end
  if #rest == limit then
    reply[1] = 0
  elseif head_matches then
    reply[#reply + 1] = head
  end
else
  if head_matches then reply[3] = head end
  -- Nothing of the window lies in sealed chunks when the head reaches below it.
  if timestamp(head, 2) > from then
    local oldest = first and string.format('%.0f', timestamp(first, 2)) or '-inf'
    local rest = redis.call('ZREVRANGEBYSCORE', KEYS[3], high, oldest, 'LIMIT', 0, limit)
    for _, chunk in ipairs(rest) do reply[#reply + 1] = chunk end
    if #rest == limit then reply[1] = 0 end
  end
end
return reply
