-- Describe one series.
-- KEYS[1] series hash   KEYS[2] head string   KEYS[3] chunks sorted set      (all three share a hash tag)
-- Returns {-1} when there is no such series, else {retention_ms, duplicate_policy, labels, created, count, chunks,
-- bytes, first, last, packed}, the last three only when it has samples. Samples past retention are not counted, even
-- while their chunk is still there; but those of a packed chunk that retention cuts through are, and its bytes are
-- returned for the caller to look at, else ''.   O(log(chunks) + e * chunk size) for e expired chunks, e <= MAX_EXPIRED
assert(#KEYS == 3 and #ARGV == 0, 'describe: 3 keys, no arguments')
local PACKED, RECORD, MAX_EXPIRED = 2, 16, 128

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local fields = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'labels', 'created', 'sealed', 'sealed_bytes')
if not fields[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return {-1}
end
local retention, sealed = tonumber(fields[1]), tonumber(fields[5])
local reply = {retention, fields[2], fields[3], tonumber(fields[4])}
local head = redis.call('GET', KEYS[2])
if not head then
  reply[5], reply[6], reply[7] = 0, 0, 0
  return reply
end

local chunks = redis.call('ZCARD', KEYS[3])
local count = sealed + (#head - 1) / RECORD
local last = timestamp(head, #head - RECORD + 1)
local floor = retention > 0 and last - retention or 0
reply[6], reply[7] = chunks + 1, #head + tonumber(fields[6])

-- Leaves a chunk's expired records out of the count; the first one that is not expired, if there is one.
local function first_visible(bytes)
  for at = 2, #bytes, RECORD do
    local time = timestamp(bytes, at)
    if time >= floor then return time end
    count = count - 1
  end
end

local first, cut = nil, ''
for at = 0, MAX_EXPIRED do
  local chunk = redis.call('ZRANGE', KEYS[3], at, at)[1]
  if chunk and chunk:byte(1) == PACKED then
    if timestamp(chunk, 2) >= floor then
      first = timestamp(chunk, 2)
    elseif timestamp(chunk, 10) >= floor then
      first, cut = floor, chunk
    else
      count = count - struct.unpack('>I4', chunk, 18)
    end
  else
    first = first_visible(chunk or head)
  end
  if first or not chunk then break end
end
reply[5], reply[8], reply[9], reply[10] = count, first or floor, last, cut
return reply
