-- Delete the samples of a window from one series.
-- KEYS[1] series hash   KEYS[2] head string   KEYS[3] chunks sorted set      (all three share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix ms, both inclusive
-- ARGV[3] limit  integer, sealed chunks to look at in one call, >= 2
-- Returns {-1} when there is no such series, else {done, deleted, packed}; while done is 0 the caller calls again, and
-- unpacks the packed chunk first that the window cuts through, if it is not ''. Samples past retention are left to
-- retention.   O(log(chunks) + limit * chunk size)
assert(#KEYS == 3 and #ARGV == 3, 'delete_range: 3 keys, 3 arguments')
local PACKED, RECORD = 2, 16

local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function exact(number) return string.format('%.0f', number) end

local retention, rolled, unrolled = unpack(redis.call('HMGET', KEYS[1], 'retention_ms', 'rolled', 'unrolled'))
if not retention then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return {-1, 0, ''}
end
local head = redis.call('GET', KEYS[2])
if not head then return {1, 0, ''} end

local from, to, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
retention = tonumber(retention)
if retention > 0 then from = math.max(from, timestamp(head, #head - RECORD + 1) - retention) end
if from > to then return {1, 0, ''} end

-- What remains of a plain chunk, and how many samples went.
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

-- The same of a packed one, if that can be told from its ends; nil if not.
local function cut_packed(bytes)
  local first, last = timestamp(bytes, 2), timestamp(bytes, 10)
  if last < from or first > to then return bytes, 0 end
  if first >= from and last <= to then return '', (struct.unpack('>I4', bytes, 18)) end
  return nil
end

local deleted, packed = 0, ''
local plain = redis.call('HGET', KEYS[1], 'plain') or ''
local marks = plain

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

-- Removing goes before adding, so that a server without memory still lets samples be deleted.
local function shrink(chunk)
  local is_packed = chunk:byte(1) == PACKED
  local rest, gone = (is_packed and cut_packed or cut)(chunk)
  if not rest then
    packed = chunk
    return
  end
  if gone == 0 then return end
  redis.call('ZREM', KEYS[3], chunk)
  local marked = unmark(chunk)
  deleted = deleted + gone
  if #rest > 1 then
    redis.call('ZADD', KEYS[3], exact(timestamp(rest, 2)), rest)
    if marked then plain = plain .. rest:sub(2, 9) end
    count_out(gone, #chunk - #rest)
  else
    count_out(gone, #chunk)
  end
end

-- The chunk that `from` falls into starts before it.
local first = redis.call('ZREVRANGEBYSCORE', KEYS[3], '(' .. exact(from), '-inf', 'LIMIT', 0, 1)[1]
if first then shrink(first) end
local inner = redis.call('ZRANGEBYSCORE', KEYS[3], exact(from), exact(to), 'LIMIT', 0, limit)
for _, chunk in ipairs(inner) do
  if packed == '' then shrink(chunk) end
end

-- The head holds the newest sample: when it goes as a whole, the last sealed chunk is opened again. Plain, it may be.
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

if packed == '' and #inner < limit then
  local rest, gone = cut(head)
  if #rest > 1 then
    if gone > 0 then
      redis.call('DEL', KEYS[2])
      redis.call('SET', KEYS[2], rest)
    end
    deleted = deleted + gone
  elseif reopen() then
    deleted = deleted + gone
  end
end
if plain ~= marks then redis.call('HSET', KEYS[1], 'plain', plain) end
-- What rollups hold of the window is no longer true.
rolled = tonumber(rolled or 0)
-- Who is filling them has read samples that retention hid, and shows again when the newest ones went: he begins anew.
if deleted > 0 and rolled > 0 then redis.call('HINCRBY', KEYS[1], 'revision', 1) end
if deleted > 0 and from < rolled then
  local changed = exact(from) .. ':' .. exact(math.min(to, rolled - 1)) .. ','
  redis.call('HSET', KEYS[1], 'unrolled', (unrolled or '') .. changed)
end

-- Keys that were written anew live as long as the series.
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  redis.call('PEXPIRE', KEYS[2], left)
  redis.call('PEXPIRE', KEYS[3], left)
end
return {packed == '' and #inner < limit and 1 or 0, deleted, packed}
