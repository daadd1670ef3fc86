-- Add a batch of samples to a series. In time order this costs an append, out of order a merge.
-- KEYS[1] series  hash: definition, size of sealed chunks, `listed`              (all four share a hash tag)
-- KEYS[2] head    string: the newest chunk, plain and still open; in the module: the series with all samples
-- KEYS[3] chunks  sorted set: sealed chunks, plain or packed, scored by their first timestamp; in the module unused
-- KEYS[4] blocks  hash: the buckets of rollups; the script only moves its expiry
-- ARGV[1] batch      n >= 1 records of 16 bytes, timestamps ascending, equal ones in the caller's order
-- ARGV[2] distinct   1 when all timestamps of the batch differ, else 0
-- ARGV[3] capacity   integer, samples of a full chunk, >= 2; in the module: new samples after which rollups are stale
-- ARGV[4] min_life   integer, milliseconds: the series outlives its last write by at least this
-- ARGV[5] now        integer, Unix milliseconds; empty: Redis's own clock
-- ARGV[6] retention_ms, ARGV[7] duplicate_policy, ARGV[8] labels: the definition of the series that this batch creates
--         if none exists; an empty retention_ms creates none
-- ARGV[9] policy     for timestamps that already exist; empty: that of the series   ARGV[10] layout  'native' or 'module'
-- ARGV[11] earliest  integer, Unix milliseconds: samples before it are refused; ARGV[13] unless a client defined the series
-- ARGV[12] ahead     integer, milliseconds: samples further ahead of `now` are refused
-- Returns {consumed, stored, listed, plain, packed, {position, reason, ...}, stale}: how many records were processed;
-- how many changed the series; 1 when the index has the series; how many sealed chunks are still plain; the packed
-- chunk that the next record falls into, or ''; for every refused record its position from 0, and 1 too old, 2
-- duplicate, 3 sum out of range, 4 too far ahead or 5 before `earliest`; 1 when rollups have something to fill. The
-- caller unpacks the packed chunk and sends the remaining records again. When the series does not exist, `consumed` is -1.
-- Refused records change nothing: if all are refused for their time, the series is not even created.
-- O(n) in time order, else O(c * capacity + n * log(capacity)) for c changed chunks, c <= MAX_TOUCHED. In the module
-- O(n * log(chunks)).
assert(#KEYS == 4 and #ARGV == 13, 'append: 4 keys, 13 arguments')
local in_module = ARGV[10] == 'module'
local batch, capacity = ARGV[1], tonumber(ARGV[3])
assert(#batch > 0 and #batch % 16 == 0 and capacity >= 2, 'append: whole records, capacity >= 2')

local PLAIN, PACKED, RECORD = '\1', 2, 16
local MAX_TOUCHED, MAX_MARKS, HOLD = 16, 2048, 600000
local TOO_OLD, DUPLICATE, OVERFLOW, TOO_NEW, TOO_EARLY = 1, 2, 3, 4, 5

-- Numbers are compared, not bytes: Lua compares strings by the server's locale.
local function timestamp(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function exact(number) return string.format('%.0f', number) end

local time = ARGV[5] == '' and redis.call('TIME')
local now = time and time[1] * 1000 + math.floor(time[2] / 1000) or tonumber(ARGV[5])

local definition = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'listed', 'plain', 'rolled', 'unrolled',
  'outlive', 'needed_from', 'untrimmed_from', 'implied', 'backfilled', 'lost_from')
-- The records from `low` until `high` have an acceptable time. Only those are processed below.
local total, refused = #batch / RECORD, {}
local low, high = 0, total

-- `index` counts from `low`.
local function refuse(index, reason)
  refused[#refused + 1] = low + index
  refused[#refused + 1] = reason
end

local earliest = tonumber(ARGV[(not definition[1] or definition[10]) and 13 or 11])
while low < total and timestamp(batch, low * RECORD + 1) < earliest do
  refuse(0, TOO_EARLY)
  low = low + 1
end
while high > low and timestamp(batch, (high - 1) * RECORD + 1) > now + tonumber(ARGV[12]) do high = high - 1 end
local count = high - low
batch = batch:sub(low * RECORD + 1, high * RECORD)

local function refuse_ahead() for at = high, total - 1 do refuse(at - low, TOO_NEW) end end

if not definition[1] then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  if ARGV[6] == '' then return {-1, 0, 0, 0, '', {}, 0} end
end
if count == 0 then
  refuse_ahead()
  return {total, 0, definition[3] and 1 or 0, #(definition[4] or '') / 8, '', refused, 0}
end
if not definition[1] then
  if in_module then redis.call('TS.CREATE', KEYS[2], 'DUPLICATE_POLICY', ARGV[7]) end
  redis.call('HSET', KEYS[1], 'retention_ms', ARGV[6], 'duplicate_policy', ARGV[7], 'labels', ARGV[8], 'created', exact(now))
  if earliest > tonumber(ARGV[11]) then redis.call('HSET', KEYS[1], 'implied', 1) end
  if in_module then
    redis.call('DEL', KEYS[4])
  else
    redis.call('HSET', KEYS[1], 'sealed', 0, 'sealed_bytes', 0)
    redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  end
  definition = {ARGV[6], ARGV[7]}
end
local retention, policy = tonumber(definition[1]), ARGV[9] ~= '' and ARGV[9] or definition[2]

local tail = in_module and '' or redis.call('GETRANGE', KEYS[2], -RECORD, -1)
local newest = in_module and redis.call('TS.GET', KEYS[2])[1] or tail ~= '' and timestamp(tail, 1) or nil
local latest = math.max(newest or 0, timestamp(batch, #batch - RECORD + 1))
-- Retention counts back from the newest sample, but never from a time that is still ahead: one sample with such a time
-- must not expire all others.
local reference = math.min(latest, now)
local floor = retention > 0 and reference - retention or -1

-- A rollup that outlives its samples is filled before they are trimmed. So samples are kept from `needed_from`, which moves
-- when rollups are filled, and accepted from `untrimmed_from`, the time from which none was ever trimmed. A load may be in
-- any order: for a while after the first sample that is too old for the clock, `backfilled`, none is trimmed. The same time
-- has to pass before that begins again, so a client that never stops does not keep them all.
local rolled = tonumber(definition[5])
local untrimmed = tonumber(definition[9])
  or rolled and retention > 0 and math.max(math.min(newest or 0, now) - retention, 0) or 0
local outlives = rolled and retention > 0 and tonumber(definition[7] or 0) > retention
local oldest = outlives and math.min(floor, untrimmed) or floor
local backfilled, first_time = tonumber(definition[11] or -math.huge), timestamp(batch, 1)
if outlives and first_time >= oldest and first_time < now - retention and now - backfilled >= 2 * HOLD then
  backfilled = now
  redis.call('HSET', KEYS[1], 'backfilled', exact(now))
end

local stored, recreated = 0, false
-- Rollups are filled before the time `rolled`, except for the ranges that changed since: `unrolled`, a list of `from:to,`.
local marks, first_mark = {}, math.huge

local function mark(from, to)
  if not rolled or from >= rolled then return end
  marks[#marks + 1] = exact(from) .. ':' .. exact(math.min(to, rolled - 1)) .. ','
  first_mark = math.min(first_mark, from)
end

-- The plain sealed chunks: the 8 bytes after the version of each, which are its first timestamp.
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

local function seal(chunk)
  redis.call('ZADD', KEYS[3], exact(timestamp(chunk, 2)), chunk)
  plain = plain .. chunk:sub(2, 9)
end

-- The size at which the head is sealed. Half a chunk stays open then, for samples that are a little late.
local longest = math.floor(capacity * 3 / 2) * RECORD

-- Stores records as the head; if they are too many, the oldest are sealed in full chunks.
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

-- Returns which of two records with the same timestamp to store, or nil and the reason why the new one is refused.
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

-- Returns the position of the first record from `at` that is not before `time`: doubling steps, then bisection.
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

-- Merges the records from `index` before `stop` into a chunk. Returns the next index, and the new chunk unless it is equal.
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
      refuse(index, reason)
    elseif not occupied or kept ~= out[#out] then
      out[occupied and #out or #out + 1] = kept
      occupied, changed, stored = true, true, stored + 1
    end
    index = index + 1
  end
  if not changed then return index, nil end
  return index, PLAIN .. table.concat(out) .. bytes:sub(copied)
end

-- Replaces a sealed chunk by a merged one, in equal parts if that is too long. Without memory, Redis refuses the counters.
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

local index, packed = 0, ''
if in_module then
  -- This script trims samples. The module would count retention back from a sample that is ahead of the clock.
  if redis.call('HSETNX', KEYS[1], 'trims', 1) == 1 then redis.call('TS.ALTER', KEYS[2], 'RETENTION', 0) end
  local first, last
  while index < count do
    local new = batch:sub(index * RECORD + 1, index * RECORD + RECORD)
    local time, old, kept, reason = timestamp(new, 1), nil, new, nil
    if time < oldest then
      kept, reason = nil, TOO_OLD
    elseif newest and time <= newest then
      local found = redis.call('TS.RANGE', KEYS[2], exact(time), exact(time))[1]
      if found then
        old = new:sub(1, 8) .. struct.pack('>d', tonumber(found[2].ok))
        kept, reason = choose(old, new)
      end
    end
    if not kept then
      refuse(index, reason)
    elseif kept ~= old then
      local value = struct.unpack('>d', kept, 9)
      redis.call('TS.ADD', KEYS[2], exact(time), string.format('%.17g', value), 'ON_DUPLICATE', 'LAST')
      stored, newest = stored + 1, math.max(newest or 0, time)
      first, last = first or time, time
    end
    index = index + 1
  end
  if first then mark(first, last) end
else
  if ARGV[2] == '1' and first_time >= oldest and (not newest or first_time > newest) then
    append(batch)
    index, stored = count, count
    mark(first_time, latest)
  end

  local touched = 0
  while index < count and touched < MAX_TOUCHED do
    local time = timestamp(batch, index * RECORD + 1)
    if time < oldest then
      refuse(index, TOO_OLD)
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
end

-- A write that is refused as a whole neither trims nor moves the expiry.
local has_accepted = 2 * (index + low) > #refused
local trim = floor
if outlives then
  local needed = tonumber(definition[8] or 0)
  if first_mark < needed then
    -- Only the replica that fills rollups knows where the buckets begin. One that is filling now starts again.
    needed = 0
    redis.call('HSET', KEYS[1], 'needed_from', 0)
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
  end
  trim = math.min(floor, now - backfilled < HOLD and untrimmed or needed)
end
if has_accepted and retention > 0 and in_module then
  -- Not with every write, since the module packs the chunk in which it deletes again. As in a native series, less than a
  -- chunk of expired samples stays.
  local expired = nil
  if trim - tonumber(redis.call('HGET', KEYS[1], 'trimmed') or 0) > retention / 16 then
    expired = redis.call('TS.RANGE', KEYS[2], 0, exact(trim - 1), 'AGGREGATION', 'count', '9007199254740991')[1]
  end
  if expired and tonumber(expired[2].ok) >= capacity then
    redis.call('TS.DEL', KEYS[2], 0, exact(trim - 1))
    redis.call('HSET', KEYS[1], 'trimmed', exact(trim), 'lost_from', 0)
    untrimmed = math.max(untrimmed, trim)
  end
elseif has_accepted and retention > 0 then
  -- Every chunk that starts before this time is expired as a whole, except the last of them.
  local expired = redis.call('ZCOUNT', KEYS[3], '-inf', exact(trim)) - 1
  if expired > 0 then
    -- More than a batch can add, so that expired chunks do not accumulate.
    local trimmed = math.min(expired, 32 + math.ceil(count / capacity))
    local samples, bytes, first, last = 0, 0, nil, 0
    for _, chunk in ipairs(redis.call('ZRANGE', KEYS[3], 0, trimmed - 1)) do
      local is_packed = chunk:byte(1) == PACKED
      local size = is_packed and struct.unpack('>I4', chunk, 18) or (#chunk - 1) / RECORD
      samples, bytes = samples + size, bytes + #chunk
      first, last = first or timestamp(chunk, 2), timestamp(chunk, is_packed and 10 or #chunk - RECORD + 1)
      unmark(chunk)
    end
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, trimmed - 1)
    redis.call('HINCRBY', KEYS[1], 'sealed', -samples)
    redis.call('HINCRBY', KEYS[1], 'sealed_bytes', -bytes)
    local lost = math.min(first, tonumber(definition[12] or 0))
    if rolled then redis.call('HSET', KEYS[1], 'trimmed', exact(trim), 'lost_from', exact(lost)) end
    untrimmed = math.max(untrimmed, outlives and trim or last + 1)
  end
end
if has_accepted and (rolled or untrimmed > 0) and untrimmed ~= tonumber(definition[9]) then
  redis.call('HSET', KEYS[1], 'untrimmed_from', exact(untrimmed))
end
if has_accepted and retention > 0 then
  -- A sixteenth longer than necessary, so that not every write has to move the expiry.
  local ttl = math.max(retention, tonumber(ARGV[4]), tonumber(definition[7] or 0)) + latest - reference
  if recreated or redis.call('PTTL', KEYS[1]) < ttl then
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, exact(math.ceil(ttl * 17 / 16))) end
  end
end

if plain ~= (definition[4] or '') then redis.call('HSET', KEYS[1], 'plain', plain) end

local stale = 0
if rolled then
  local unrolled = (definition[6] or '') .. table.concat(marks)
  if #marks > 0 then
    if #unrolled > MAX_MARKS then
      -- Too many ranges become one; a replica that is filling some of them has to start again.
      local first, last = math.huge, 0
      for from, to in unrolled:gmatch('(%d+):(%d+),') do
        first, last = math.min(first, tonumber(from)), math.max(last, tonumber(to))
      end
      unrolled = exact(first) .. ':' .. exact(last) .. ','
      redis.call('HINCRBY', KEYS[1], 'revision', 1)
    end
    redis.call('HSET', KEYS[1], 'unrolled', unrolled)
  end
  -- Samples must not expire before rollups are filled from them.
  local is_overdue = retention > 0 and rolled < reference - retention / 4
  local first = in_module and '' or redis.call('GETRANGE', KEYS[2], 1, 8)
  local is_due = in_module and redis.call('HINCRBY', KEYS[1], 'behind', stored) >= capacity
    or #first == 8 and timestamp(first, 1) > rolled
  if unrolled ~= '' or is_overdue or is_due then stale = 1 end
end
if index == count then refuse_ahead() end
return {index == count and total or low + index, stored, definition[3] and 1 or 0, #plain / 8, packed, refused, stale}
