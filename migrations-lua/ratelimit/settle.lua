-- Settle a reservation: return its unused cost, or take the cost beyond it. First, or without an id only, return all
-- overdue reservations, as of their ends.
-- KEYS[1] state         see check.lua
-- KEYS[2] reservations  hash: id to "<end> <cost> <a> <b> <c> <d>", times in microseconds; a to d depend on the strategy:
--           flow   the cost's parts, parts of a microsecond, when its debt would be gone, plus `given`, parts of a unit of
--                  cost (absent if an earlier version wrote it)
--           fixed  the window's start            sliding  when the cost was taken
--         first: the earliest end, or a time before it;   given: the total returned to a flow, microseconds
-- ARGV[1] now, Unix ms, or empty for Redis's own clock       ARGV[2] id; empty: only overdue reservations
-- ARGV[3..] the strategy and the used cost: flow cost, its parts, parts of a microsecond, parts of a unit of cost, capacity
--         in units;   fixed cost, length;   calendar cost, start, end;   sliding cost, length
-- Returns {1, n} settled   {0, 0} there is no such reservation, or it is overdue   {2, now} now is outside the calendar
--         window; nothing was done
-- O(1), O(reservations) if some are overdue; sliding O(entries) if anything is returned.
assert(#KEYS == 2 and #ARGV >= 5, "settle: 2 keys, a strategy and its numbers")
local FLOW, OLD_FLOW, FIXED, ENTRY, WRAP = 32, 15, 14, 12, 1099511627776
local state, holds, id, kind = KEYS[1], KEYS[2], ARGV[2], ARGV[3]
local cost, second, third = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = ARGV[1] * 1000
end
local margin = ARGV[1] == '' and 0 or 600000

-- A reservation to settle at the time `at`, with `used` of its cost.
local function read(name, text)
  local ends, taken, a, b, c, d = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) ?(%d*)$')
  ends = tonumber(ends)
  return {name = name, ends = ends, cost = tonumber(taken), a = tonumber(a), b = tonumber(b), c = tonumber(c),
    d = tonumber(d), used = 0, used_parts = 0, at = ends}
end

-- A number of units as a time, and its parts.
local function time_of(units, unit, parts)
  local time = math.floor(units * unit / parts)
  local rest = math.max(math.ceil(units * unit - time * parts), 0)
  if rest >= parts then return time + 1, 0 end
  return time, rest
end

-- The units of a time.
local function units_of(time, rest, unit, parts)
  local units = (time * parts + rest) / unit
  local whole = math.floor(units + 0.5)
  return math.abs(units - whole) < 0.000001 and whole or units
end

-- The debt of a flow's state and its parts, see check.lua.
local function flow_debt(text, parts, unit, units)
  local free, rest, former_parts = struct.unpack('>I7I4I4', text)
  if #text == OLD_FLOW then
    if former_parts ~= parts and rest > 0 then free, rest = free + 1, 0 end
    if free < now then return 0, 0 end
    return free - now, rest
  end
  local former_unit, former_units, written = struct.unpack('>I6I4I7', text, OLD_FLOW + 1)
  local debt = free - math.max(now, written)
  if debt < 0 then return 0, 0 end
  if former_parts == parts and former_unit == unit and former_units == units then return debt, rest end
  local left = math.max(former_units - units_of(debt, rest, former_unit, former_parts), 0)
  return time_of(units - math.min(left, units), unit, parts)
end

local named
if id ~= '' then
  local text = redis.call('HGET', holds, id)
  if not text then return {0, 0} end
  named = read(id, text)
  if named.ends <= now then return {0, 0} end
  named.used, named.used_parts, named.at = cost, kind == 'flow' and second or 0, now
end

-- The reservations to settle, in the order of their times, and the earliest end of the others.
local settled, first = {}, tonumber(redis.call('HGET', holds, 'first'))
if first and first <= now then
  first = nil
  local all = redis.call('HGETALL', holds)
  for at = 1, #all, 2 do
    if all[at] ~= 'first' and all[at] ~= 'given' then
      local one = read(all[at], all[at + 1])
      if one.ends <= now then settled[#settled + 1] = one else first = math.min(first or one.ends, one.ends) end
    end
  end
  table.sort(settled, function(one, other) return one.ends < other.ends end)
end
settled[#settled + 1] = named
-- How long the state still affects decisions, ms.
local life = 0

-- Every read that can fail comes before the first write. The first write deletes: if its memory is full, Redis still accepts
-- the rest of the script.
local text = redis.call('GET', state)
local start, stop = second, third
if kind == 'fixed' then
  start = now - now % second
  stop = start + second
elseif kind == 'calendar' and (now < start or now >= stop) then
  return {2, now}
end
for _, one in ipairs(settled) do redis.call('HDEL', holds, one.name) end

if kind == 'flow' then
  local parts, unit, units = third, tonumber(ARGV[7]), tonumber(ARGV[8])
  local given = tonumber(redis.call('HGET', holds, 'given') or '0')
  local free, free_parts = now, 0
  if text and (#text == FLOW or #text == OLD_FLOW) then
    free, free_parts = flow_debt(text, parts, unit, units)
    free = free + now
  end
  for _, one in ipairs(settled) do
    -- Drained debt needs no return. Returns since then have moved the end of this debt forward.
    local owed = math.max(one.c - given - one.at, 0)
    if one.d and one.d > 0 and (one.b ~= parts or one.d ~= unit) then
      -- A previous rule granted it: its cost takes another time now.
      owed = math.ceil(owed * (unit / parts) / (one.d / one.b))
      one.cost, one.a = time_of(units_of(one.cost, one.a, one.d, one.b), unit, parts)
      one.b = parts
    end
    owed = math.min(owed, math.max(free - one.at, 0))
    -- Parts of another size that cannot be converted are dropped, which returns less by under a microsecond.
    local back, back_parts = one.cost - one.used, (one.b == parts and one.a or 0) - one.used_parts
    if back_parts < 0 then back, back_parts = back - 1, back_parts + parts end
    if back >= 0 then
      if back >= owed then back, back_parts = owed, 0 end
      free, free_parts = free - back, free_parts - back_parts
      if free_parts < 0 then free, free_parts = free - 1, free_parts + parts end
      given = given + back + (back_parts > 0 and 1 or 0)
    else
      -- More was used: the difference becomes debt, whatever the limit says.
      if free < now then free, free_parts = now, 0 end
      free, free_parts = free - back, free_parts - back_parts
      if free_parts < 0 then free, free_parts = free - 1, free_parts + parts end
    end
  end
  redis.call('HSET', holds, 'given', string.format('%.0f', given))
  if free > now or (free == now and free_parts > 0) then
    life = math.ceil((free + 1 - now) / 1000) + margin
    redis.call('SET', state, struct.pack('>I7I4I4I6I4I7', free, free_parts, parts, unit, units, now), 'PX', life)
  elseif text then
    redis.call('DEL', state)
  end

elseif kind == 'fixed' or kind == 'calendar' then
  local began, count = start, 0
  if text and #text == FIXED then
    local former, sum = struct.unpack('>I7I7', text)
    if former >= start then began, count = former, sum end
  end
  local is_debt = false
  for _, one in ipairs(settled) do
    local back = one.cost - one.used
    is_debt = is_debt or back < 0
    -- A cost taken in an earlier window no longer counts; a cost beyond the reservation counts now.
    if back < 0 or one.a == began then count = math.max(count - back, 0) end
  end
  if text or is_debt then
    redis.call('SET', state, struct.pack('>I7I7', start, count), 'PX', math.ceil((stop - now) / 1000) + margin)
  end

else
  local length, former, is_debt = second, text, false
  if not text or #text % ENTRY ~= 0 then text = struct.pack('>I7I5', 0, 0) end
  local function entry(n) return struct.unpack('>I7I5', text, n * ENTRY + 1) end
  for _, one in ipairs(settled) do
    local count = #text / ENTRY
    if one.cost >= one.used then
      -- The last entry with its time, if it has not left the window; all totals from there on decrease.
      local low, high = 0, count
      while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        if entry(middle) <= one.a then low = middle else high = middle end
      end
      if entry(low) == one.a and one.a > now - length then
        local less = {text:sub(1, low * ENTRY)}
        for n = low, count - 1 do
          local when, total = entry(n)
          less[#less + 1] = struct.pack('>I7I5', when, (total - (one.cost - one.used)) % WRAP)
        end
        text = table.concat(less)
      end
    else
      local last, total = entry(count - 1)
      is_debt = true
      text = text .. struct.pack('>I7I5', math.max(now, last), (total + one.used - one.cost) % WRAP)
    end
  end
  if former or is_debt then redis.call('SET', state, text, 'PX', math.ceil(length / 1000) + margin) end
end

if redis.call('HLEN', holds) <= 2 then
  redis.call('DEL', holds)
else
  redis.call('HSET', holds, 'first', string.format('%.0f', first or now))
  -- Debt beyond the limit may outlive the TTL that the reservations were expected to need.
  if redis.call('PTTL', holds) < life then redis.call('PEXPIRE', holds, life) end
end
return {1, #settled}
