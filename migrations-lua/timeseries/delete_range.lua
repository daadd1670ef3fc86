-- Delete the samples of a window from one series.
-- KEYS[1] series hash   KEYS[2] head string   KEYS[3] chunks sorted set      (all three share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix ms, both inclusive
-- ARGV[3] limit  integer, sealed chunks to look at in one call, >= 2
-- Returns {-1} when there is no such series, else {done, deleted}; while done is 0 the caller calls again. Samples past
-- retention are left to retention.   O(log(chunks) + limit * chunk size)
assert(#KEYS == 3 and #ARGV == 3, 'delete_range: 3 keys, 3 arguments')
local VERSION, RECORD = '\1', 16

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function exact(number) return string.format('%.0f', number) end

local retention = redis.call('HGET', KEYS[1], 'retention_ms')
if not retention then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return {-1}
end
local head = redis.call('GET', KEYS[2])
if not head then return {1, 0} end

local from, to, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
retention = tonumber(retention)
if retention > 0 then from = math.max(from, timestamp(head, #head - RECORD + 1) - retention) end
if from > to then return {1, 0} end

-- What remains of a chunk, and how many samples went.
local function cut(bytes)
  local left, right = #bytes + 1, #bytes + 1
  for at = 2, #bytes, RECORD do
    local time = timestamp(bytes, at)
    if time >= from and at < left then left = at end
    if time > to then
      right = at
      break
    end
  end
  left = math.min(left, right)
  return bytes:sub(1, left - 1) .. bytes:sub(right), (right - left) / RECORD
end

local deleted = 0
-- Removing goes before adding, so that a server without memory still lets samples be deleted.
local function shrink(chunk)
  local rest, gone = cut(chunk)
  if gone == 0 then return end
  redis.call('ZREM', KEYS[3], chunk)
  redis.call('HINCRBY', KEYS[1], 'sealed', -gone)
  if #rest > 1 then redis.call('ZADD', KEYS[3], exact(timestamp(rest, 2)), rest) end
  deleted = deleted + gone
end

-- The chunk that `from` falls into starts before it.
local first = redis.call('ZREVRANGEBYSCORE', KEYS[3], '(' .. exact(from), '-inf', 'LIMIT', 0, 1)[1]
if first then shrink(first) end
local inner = redis.call('ZRANGEBYSCORE', KEYS[3], exact(from), exact(to), 'LIMIT', 0, limit)
for _, chunk in ipairs(inner) do shrink(chunk) end

local done = #inner < limit and 1 or 0
if done == 1 then
  local rest, gone = cut(head)
  if gone > 0 then
    redis.call('DEL', KEYS[2])
    deleted = deleted + gone
    if #rest > 1 then
      redis.call('SET', KEYS[2], rest)
    else
      -- The head holds the newest sample: the last sealed chunk is opened again.
      local chunk = redis.call('ZRANGE', KEYS[3], -1, -1)[1]
      if chunk then
        redis.call('ZREM', KEYS[3], chunk)
        redis.call('HINCRBY', KEYS[1], 'sealed', -((#chunk - 1) / RECORD))
        redis.call('SET', KEYS[2], chunk)
      end
    end
  end
end

-- Keys that were written anew live as long as the series.
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  redis.call('PEXPIRE', KEYS[2], left)
  redis.call('PEXPIRE', KEYS[3], left)
end
return {done, deleted}
