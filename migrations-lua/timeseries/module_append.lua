-- Add one batch of samples to one series that the module keeps.
-- KEYS[1] series   hash: definition, listed                (all three share a hash tag)
-- KEYS[2] samples  the module's
-- KEYS[3] blocks   hash: the buckets of rollups; only its expiry is touched
-- ARGV[1] batch      n >= 1 records of 16 bytes, timestamps ascending, equal ones in the caller's order
-- ARGV[2] min_life   integer, ms that a series outlives its last write at least
-- ARGV[3] now        integer, Unix ms, or empty for Redis TIME
-- ARGV[4] retention_ms, ARGV[5] duplicate_policy, ARGV[6] labels: the definition of a series that this batch creates;
--         retention_ms empty: it creates none
-- ARGV[7] policy     what holds for timestamps that are there already, instead of the series' own; empty: that one
-- ARGV[8] settled    integer, samples behind what rollups hold until it is time to fill them
-- Returns {-1} when there is no such series, else what append.lua returns, with nothing to pack.
-- O(n * log(chunks))
assert(#KEYS == 3 and #ARGV == 8, 'module_append: 3 keys, 8 arguments')
local batch = ARGV[1]
assert(#batch > 0 and #batch % 16 == 0, 'module_append: whole records')
local TOO_OLD, DUPLICATE, OVERFLOW = 1, 2, 3
local MAX_MARKS = 2048

local function exact(number) return string.format('%.0f', number) end

local function timestamp(at)
  local high, low = struct.unpack('>I4I4', batch, at)
  return (high - 2147483648) * 4294967296 + low
end

local function now()
  if ARGV[3] ~= '' then return ARGV[3] end
  local time = redis.call('TIME')
  return exact(time[1] * 1000 + math.floor(time[2] / 1000))
end

local definition = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'listed', 'rolled', 'unrolled',
  'outlive', 'trimmed')
if not definition[1] then
  if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  if ARGV[4] == '' then return {-1, 0, 0, 0, '', {}, 0} end
  redis.call('TS.CREATE', KEYS[2], 'RETENTION', ARGV[4], 'DUPLICATE_POLICY', ARGV[5])
  redis.call('HSET', KEYS[1], 'retention_ms', ARGV[4], 'duplicate_policy', ARGV[5], 'labels', ARGV[6], 'created', now())
  redis.call('DEL', KEYS[3])
  definition = {ARGV[4], ARGV[5], false, false, false, false, false}
end
local retention, policy = tonumber(definition[1]), ARGV[7] ~= '' and ARGV[7] or definition[2]
local newest = redis.call('TS.GET', KEYS[2])[1]
local floor = retention > 0 and math.max(newest or 0, timestamp(#batch - 15)) - retention or -1

-- The value that stays of two with one timestamp, or nil and the reason why the new one is refused.
local function choose(old, new)
  if policy == 'sum' then
    local sum = old + new
    if sum - sum ~= 0 then return nil, OVERFLOW end
    return sum
  end
  if struct.pack('>d', old) == struct.pack('>d', new) or policy == 'first' then return old end
  if policy == 'last' then return new end
  if policy == 'block' then return nil, DUPLICATE end
  if policy == 'min' and new < old or policy == 'max' and new > old then return new end
  return old
end

local stored, refused = 0, {}
local first_changed, last_changed
for at = 1, #batch, 16 do
  local time, value = timestamp(at), struct.unpack('>d', batch, at + 8)
  local there, kept, reason = nil, value, nil
  if time < floor then
    kept, reason = nil, TOO_OLD
  elseif newest and time <= newest then
    local found = redis.call('TS.RANGE', KEYS[2], exact(time), exact(time))[1]
    if found then
      there = tonumber(found[2].ok)
      kept, reason = choose(there, value)
    end
  end
  if not kept then
    refused[#refused + 1] = (at - 1) / 16
    refused[#refused + 1] = reason
  elseif not there or struct.pack('>d', there) ~= struct.pack('>d', kept) then
    redis.call('TS.ADD', KEYS[2], exact(time), string.format('%.17g', kept), 'ON_DUPLICATE', 'LAST')
    stored = stored + 1
    first_changed, last_changed = first_changed or time, time
    newest = math.max(newest or 0, time)
  end
end

if retention > 0 then
  local life = math.max(retention, tonumber(ARGV[2]), tonumber(definition[6] or 0))
  if redis.call('PTTL', KEYS[1]) < life then
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, exact(math.ceil(life * 17 / 16))) end
  end
end
-- Rollups hold what lies before `rolled`, but for what was changed there since: `unrolled`, a list of `from:to,`.
local stale, rolled = 0, tonumber(definition[4])
if rolled then
  local unrolled = definition[5] or ''
  if first_changed and first_changed < rolled then
    unrolled = unrolled .. exact(first_changed) .. ':' .. exact(math.min(last_changed, rolled - 1)) .. ','
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
  -- The module may have freed what lies before.
  if floor > tonumber(definition[7] or 0) then redis.call('HSET', KEYS[1], 'trimmed', exact(floor)) end
  local behind = redis.call('HINCRBY', KEYS[1], 'behind', stored)
  -- Samples must not expire before they are rolled up.
  local overdue = retention > 0 and newest and rolled < newest - retention / 4
  if unrolled ~= '' or overdue or behind >= tonumber(ARGV[8]) then stale = 1 end
end
return {#batch / 16, stored, definition[3] and 1 or 0, 0, '', refused, stale}
