-- Delete the samples of a window from a series.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   (all share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix milliseconds, both inclusive
-- ARGV[3] limit  integer, >= 2: how many sealed chunks one call examines; the module deletes the window in one call
-- ARGV[4] layout 'native' or 'module'
-- ARGV[5] now    integer, Unix milliseconds; empty: Redis's own clock
-- Returns {-1, 0, ''} when the series does not exist, else {done, deleted, packed}. While done is 0 the caller calls
-- again; if `packed` is not empty, it is a packed chunk that the window covers in part, which the caller unpacks first.
-- Samples past retention are not deleted here.   O(log(chunks) + limit * chunk size); in the module O(samples of the
-- window)
assert(#KEYS == 3 and #ARGV == 5, 'delete_range: 3 keys, 5 arguments')
local PACKED, RECORD = 2, 16
local in_module = ARGV[4] == 'module'

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function exact(number) return string.format('%.0f', number) end

local function clock()
  if ARGV[5] ~= '' then return tonumber(ARGV[5]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local fields = redis.call('HMGET', KEYS[1], 'retention_ms', 'rolled', 'unrolled', 'plain')
if not fields[1] then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return {-1, 0, ''}
end
local head, newest
if in_module then
  newest = redis.call('TS.GET', KEYS[2])[1]
else
  head = redis.call('GET', KEYS[2])
  newest = head and timestamp(head, #head - RECORD + 1)
end
if not newest then return {1, 0, ''} end

local from, to, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local retention = tonumber(fields[1])
if retention > 0 then from = math.max(from, math.min(newest, clock()) - retention) end
if from > to then return {1, 0, ''} end

-- Returns what remains of a plain chunk, and how many samples were removed.
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

-- Returns what `cut` returns for a packed chunk if its first and last timestamp suffice to know it, else nil.
local function cut_packed(bytes)
  local first, last = timestamp(bytes, 2), timestamp(bytes, 10)
  if last < from or first > to then return bytes, 0 end
  if first >= from and last <= to then return '', (struct.unpack('>I4', bytes, 18)) end
  return nil
end

local done, deleted, packed = true, 0, ''
local plain = fields[4] or ''

-- Removes a chunk from the list of plain chunks; returns whether it was on it.
local function unmark(chunk)
  local start = chunk:sub(2, 9)
  for at = 1, #plain, 8 do
    if plain:sub(at, at + 7) == start then
      plain = plain:sub(1, at - 1) .. plain:sub(at + 8)
      return true
    end
  end
  return false
end

local function count_out(samples, bytes)
  redis.call('HINCRBY', KEYS[1], 'sealed', -samples)
  redis.call('HINCRBY', KEYS[1], 'sealed_bytes', -bytes)
end

-- Removes the window from a sealed chunk. It removes before it adds, so that samples can be deleted from a server that
-- is out of memory.
local function shrink(chunk)
  local is_packed = chunk:byte(1) == PACKED
  local rest, removed = (is_packed and cut_packed or cut)(chunk)
  if not rest then
    packed = chunk
    return
  end
  if removed == 0 then return end
  redis.call('ZREM', KEYS[3], chunk)
  local was_marked = unmark(chunk)
  deleted = deleted + removed
  if #rest > 1 then
    redis.call('ZADD', KEYS[3], exact(timestamp(rest, 2)), rest)
    if was_marked then plain = plain .. rest:sub(2, 9) end
    count_out(removed, #chunk - #rest)
  else
    count_out(removed, #chunk)
  end
end

-- Makes the last sealed chunk the head again: the head holds the newest sample, and all of it was deleted. Returns
-- false if that chunk must be unpacked first.
local function reopen()
  local chunk = redis.call('ZRANGE', KEYS[3], -1, -1)[1]
  if chunk and chunk:byte(1) == PACKED then
    packed = chunk
    return false
  end
  redis.call('DEL', KEYS[2])
  if chunk then
    redis.call('ZREM', KEYS[3], chunk)
    unmark(chunk)
    count_out((#chunk - 1) / RECORD, #chunk)
    redis.call('SET', KEYS[2], chunk)
  end
  return true
end

if in_module then
  deleted = redis.call('TS.DEL', KEYS[2], exact(from), exact(to))
else
  -- The chunk that contains `from` starts before it.
  local first = redis.call('ZREVRANGEBYSCORE', KEYS[3], '(' .. exact(from), '-inf', 'LIMIT', 0, 1)[1]
  if first then shrink(first) end
  local inner = redis.call('ZRANGEBYSCORE', KEYS[3], exact(from), exact(to), 'LIMIT', 0, limit)
  for _, chunk in ipairs(inner) do
    if packed == '' then shrink(chunk) end
  end
  if packed == '' and #inner < limit then
    local rest, removed = cut(head)
    if #rest > 1 then
      if removed > 0 then
        redis.call('DEL', KEYS[2])
        redis.call('SET', KEYS[2], rest)
      end
      deleted = deleted + removed
    elseif reopen() then
      deleted = deleted + removed
    end
  end
  done = packed == '' and #inner < limit
  if plain ~= (fields[4] or '') then redis.call('HSET', KEYS[1], 'plain', plain) end
  -- Keys that were written again expire with the series.
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then
    redis.call('PEXPIRE', KEYS[2], left)
    redis.call('PEXPIRE', KEYS[3], left)
  end
end

-- The buckets of rollups in the window are no longer valid.
local rolled = tonumber(fields[2] or 0)
-- A replica that is filling rollups now has not read samples that retention hid. Deleting the newest samples makes them
-- visible again, so it has to start again.
if deleted > 0 and rolled > 0 then redis.call('HINCRBY', KEYS[1], 'revision', 1) end
if deleted > 0 and from < rolled then
  local changed = exact(from) .. ':' .. exact(math.min(to, rolled - 1)) .. ','
  redis.call('HSET', KEYS[1], 'unrolled', (fields[3] or '') .. changed)
end
return {done and 1 or 0, deleted, packed}
