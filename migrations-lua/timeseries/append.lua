-- Add one batch of samples to one series; in time order it costs an append, out of order a merge.
-- KEYS[1] series  hash: definition, what is sealed, listed                (all three share a hash tag)
-- KEYS[2] head    string: the newest chunk, plain and still open
-- KEYS[3] chunks  sorted set: sealed chunks, plain or packed, scored by their first timestamp
-- KEYS[4] blocks  hash: the buckets of rollups; only its expiry is touched
-- ARGV[1] batch      n >= 1 records of 16 bytes, timestamps ascending, equal ones in the caller's order
-- ARGV[2] distinct   1 when all timestamps of the batch differ, else 0
-- ARGV[3] capacity   integer, samples of a full chunk, >= 2
-- ARGV[4] min_life   integer, ms that a series outlives its last write at least
-- ARGV[5] now        integer, Unix ms, or empty for Redis TIME
-- ARGV[6] retention_ms, ARGV[7] duplicate_policy, ARGV[8] labels: the definition of a series that this batch
--         creates; retention_ms empty: it creates none
-- ARGV[9] policy     what holds for timestamps that are there already, instead of the series' own; empty: that one
-- Returns {-1} when there is no such series, else {consumed, stored, listed, plain, packed, {position, reason, ...}, stale}: how
-- many records were dealt with, how many changed the series, whether the index knows the series, how many sealed chunks
-- wait to be packed, the packed chunk that the next record falls into, or '', and for every refused record its position
-- from 0 and 1 too old, 2 duplicate, 3 sum out of range; stale is 1 when rollups have something to do, else 0. The caller
-- unpacks the packed chunk, and sends the rest again.
-- O(n) in time order. Else O(c * capacity + n * log(capacity)) for c touched chunks, c <= MAX_TOUCHED.
assert(#KEYS == 4 and #ARGV == 9, 'append: 4 keys, 9 arguments')
local batch, capacity = ARGV[1], tonumber(ARGV[3])
assert(#batch > 0 and #batch % 16 == 0 and capacity >= 2, 'append: whole records, capacity >= 2')

local PLAIN, PACKED, RECORD = '\1', 2, 16
local MAX_TOUCHED, MAX_MARKS = 16, 2048
local TOO_OLD, DUPLICATE, OVERFLOW = 1, 2, 3

-- Numbers are compared, not bytes: Lua compares strings by the server's locale.
local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function exact(number) return string.format('%.0f', number) end

local function now()
  if ARGV[5] ~= '' then return ARGV[5] end
  local time = redis.call('TIME')
  return exact(time[1] * 1000 + math.floor(time[2] / 1000))
end

local definition = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'listed', 'plain', 'rolled', 'unrolled',
  'outlive')
if not definition[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  if ARGV[6] == '' then return {-1, 0, 0, 0, '', {}, 0} end
  redis.call('HSET', KEYS[1], 'retention_ms', ARGV[6], 'duplicate_policy', ARGV[7], 'labels', ARGV[8],
    'created', now(), 'sealed', 0, 'sealed_bytes', 0)
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  definition = {ARGV[6], ARGV[7], false, false, false, false, false}
end
local retention, policy = tonumber(definition[1]), ARGV[9] ~= '' and ARGV[9] or definition[2]

local count = #batch / RECORD
local newest = nil
local tail = redis.call('GETRANGE', KEYS[2], -RECORD, -1)
if tail ~= '' then newest = timestamp(tail, 1) end
local latest = math.max(newest or 0, timestamp(batch, #batch - RECORD + 1))
local floor = retention > 0 and latest - retention or -1

local stored, refused, recreated = 0, {}, false

-- Rollups hold what lies before `rolled`, but for what was changed there since: `unrolled`, a list of `from:to,`.
local rolled, marks = tonumber(definition[5]), {}

local function mark(from, to)
  if rolled and from < rolled then marks[#marks + 1] = exact(from) .. ':' .. exact(math.min(to, rolled - 1)) .. ',' end
end

-- Where sealed chunks start that are plain: their first 8 bytes behind the version, one after the other.
local plain = definition[4] or ''

local function unmark(chunk)
  local start = chunk:sub(2, 9)
  for at = 1, #plain, 8 do
    if plain:sub(at, at + 7) == start then
      plain = plain:sub(1, at - 1) .. plain:sub(at + 8)
      return
    end
  end
end

local function samples_in(chunk)
  if chunk:byte(1) == PACKED then return (struct.unpack('>I4', chunk, 18)) end
  return (#chunk - 1) / RECORD
end

local function seal(chunk)
  redis.call('ZADD', KEYS[3], exact(timestamp(chunk, 2)), chunk)
  plain = plain .. chunk:sub(2, 9)
end

-- How far a head may grow. Half a chunk stays open after sealing, so that samples which are a little late find theirs
-- open as well.
local longest = math.floor(capacity * 3 / 2) * RECORD

-- Keeps the newest records open as the head; full chunks before them are sealed.
local function settle_head(bytes)
  local at, full, sealed = 2, capacity * RECORD, 0
  while #bytes - at + 1 > longest do
    seal(PLAIN .. bytes:sub(at, at + full - 1))
    at, sealed = at + full, sealed + 1
  end
  if sealed > 0 then
    redis.call('HINCRBY', KEYS[1], 'sealed', sealed * capacity)
    redis.call('HINCRBY', KEYS[1], 'sealed_bytes', sealed * (full + 1))
  end
  redis.call('SET', KEYS[2], PLAIN .. bytes:sub(at))
  recreated = true
end

local function append(records)
  local length = redis.call('STRLEN', KEYS[2])
  if length > 0 and length - 1 + #records <= longest then
    redis.call('APPEND', KEYS[2], records)
  else
    settle_head((length > 0 and redis.call('GET', KEYS[2]) or PLAIN) .. records)
  end
end

-- The record that stays of two with one timestamp, or nil and the reason why the new one is refused.
local function choose(old, new)
  if policy == 'sum' then
    local sum = struct.unpack('>d', old, 9) + struct.unpack('>d', new, 9)
    if sum - sum ~= 0 then return nil, OVERFLOW end
    return new:sub(1, 8) .. struct.pack('>d', sum)
  end
  if old == new or policy == 'first' then return old end
  if policy == 'last' then return new end
  if policy == 'block' then return nil, DUPLICATE end
  local before, after = struct.unpack('>d', old, 9), struct.unpack('>d', new, 9)
  if policy == 'min' and after < before or policy == 'max' and after > before then return new end
  return old
end

-- The first record at or after `at` that is not before `time`: doubling steps, then bisection.
local function seek(bytes, at, time)
  if at > #bytes or timestamp(bytes, at) >= time then return at end
  local low, step = at, RECORD
  local high = low + step
  while high <= #bytes and timestamp(bytes, high) < time do
    low, step = high, step * 2
    high = low + step
  end
  high = math.min(high, #bytes + 1)
  while high - low > RECORD do
    local middle = low + math.floor((high - low) / (2 * RECORD)) * RECORD
    if timestamp(bytes, middle) < time then low = middle else high = middle end
  end
  return high
end

-- Merges the records from `index` on that are before `stop` into a chunk; returns the next index and the new chunk,
-- or nil for the chunk when nothing changed.
local function merge(bytes, index, stop)
  local out, copied, at = {}, 2, 2
  local current, occupied, changed = nil, false, false
  while index < count do
    local from = index * RECORD + 1
    local time = timestamp(batch, from)
    if stop and time >= stop then break end
    local new = batch:sub(from, from + RECORD - 1)
    if time ~= current then
      at = seek(bytes, at, time)
      out[#out + 1] = bytes:sub(copied, at - 1)
      occupied = at <= #bytes and timestamp(bytes, at) == time
      if occupied then
        out[#out + 1] = bytes:sub(at, at + RECORD - 1)
        at = at + RECORD
      end
      copied, current = at, time
    end
    local kept, reason = new, nil
    if occupied then kept, reason = choose(out[#out], new) end
    if not kept then
      refused[#refused + 1] = index
      refused[#refused + 1] = reason
    elseif not occupied or kept ~= out[#out] then
      out[occupied and #out or #out + 1] = kept
      occupied, changed, stored = true, true, stored + 1
    end
    index = index + 1
  end
  if not changed then return index, nil end
  return index, PLAIN .. table.concat(out) .. bytes:sub(copied)
end

-- Puts a merged chunk in the place of a sealed one, in equal parts when it became too long. The counters go first:
-- they are what a server without memory refuses.
local function replace(old, bytes)
  local total = (#bytes - 1) / RECORD
  local parts = math.ceil(total / capacity)
  local size = math.ceil(total / parts) * RECORD
  redis.call('HINCRBY', KEYS[1], 'sealed', total - (#old - 1) / RECORD)
  redis.call('HINCRBY', KEYS[1], 'sealed_bytes', math.ceil((#bytes - 1) / size) + #bytes - 1 - #old)
  redis.call('ZREM', KEYS[3], old)
  unmark(old)
  for at = 2, #bytes, size do
    seal(PLAIN .. bytes:sub(at, at + size - 1))
  end
  recreated = true
end

local index = 0
if ARGV[2] == '1' and timestamp(batch, 1) >= floor and (not newest or timestamp(batch, 1) > newest) then
  append(batch)
  index, stored = count, count
  mark(timestamp(batch, 1), latest)
end

local touched, packed = 0, ''
while index < count and touched < MAX_TOUCHED do
  local time = timestamp(batch, index * RECORD + 1)
  if time < floor then
    refused[#refused + 1] = index
    refused[#refused + 1] = TOO_OLD
    index = index + 1
  else
    touched = touched + 1
    local head = redis.call('GET', KEYS[2]) or PLAIN
    local chunk = nil
    if #head > 1 and time < timestamp(head, 2) then
      chunk = redis.call('ZREVRANGEBYSCORE', KEYS[3], exact(time), '-inf', 'LIMIT', 0, 1)[1]
        or redis.call('ZRANGE', KEYS[3], 0, 0)[1]
    end
    local merged
    if chunk and chunk:byte(1) == PACKED then
      packed = chunk
      break
    elseif chunk then
      local start = exact(timestamp(chunk, 2))
      local following = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. start, '+inf', 'LIMIT', 0, 1)[1]
      index, merged = merge(chunk, index, timestamp(following or head, 2))
      if merged then replace(chunk, merged) end
    else
      index, merged = merge(head, index, nil)
      if merged then settle_head(merged) end
    end
    if merged then mark(time, timestamp(batch, index * RECORD - RECORD + 1)) end
  end
end

if retention > 0 then
  -- Every chunk that starts before the cutoff is expired as a whole, except the last one of them.
  local expired = redis.call('ZCOUNT', KEYS[3], '-inf', exact(floor)) - 1
  if expired > 0 then
    -- More than a batch can add, so that expired chunks do not gather.
    local trimmed = math.min(expired, 32 + math.ceil(count / capacity))
    local samples, bytes = 0, 0
    for _, chunk in ipairs(redis.call('ZRANGE', KEYS[3], 0, trimmed - 1)) do
      samples, bytes = samples + samples_in(chunk), bytes + #chunk
      unmark(chunk)
    end
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, trimmed - 1)
    redis.call('HINCRBY', KEYS[1], 'sealed', -samples)
    redis.call('HINCRBY', KEYS[1], 'sealed_bytes', -bytes)
    if rolled then redis.call('HSET', KEYS[1], 'trimmed', exact(floor)) end
  end
  -- A sixteenth more than promised, so that not every write has to move the expiry.
  local life = math.max(retention, tonumber(ARGV[4]), tonumber(definition[7] or 0))
  if recreated or redis.call('PTTL', KEYS[1]) < life then
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, exact(math.ceil(life * 17 / 16))) end
  end
end

if plain ~= (definition[4] or '') then redis.call('HSET', KEYS[1], 'plain', plain) end

local stale = 0
if rolled then
  local unrolled = (definition[6] or '') .. table.concat(marks)
  if #marks > 0 then
    if #unrolled > MAX_MARKS then
      -- So many are one: who is filling a part of them begins anew.
      local first, last = math.huge, 0
      for from, to in unrolled:gmatch('(%d+):(%d+),') do
        first, last = math.min(first, tonumber(from)), math.max(last, tonumber(to))
      end
      unrolled = exact(first) .. ':' .. exact(last) .. ','
      redis.call('HINCRBY', KEYS[1], 'revision', 1)
    end
    redis.call('HSET', KEYS[1], 'unrolled', unrolled)
  end
  local open = redis.call('GETRANGE', KEYS[2], 1, 8)
  -- Samples must not expire in an open chunk before they are rolled up.
  local overdue = retention > 0 and rolled < latest - retention / 4
  if unrolled ~= '' or overdue or #open == 8 and timestamp(open, 1) > rolled then stale = 1 end
end
return {index, stored, definition[3] and 1 or 0, #plain / 8, packed, refused, stale}
