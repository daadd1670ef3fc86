-- Settle a reservation: return its unused cost, or take the cost beyond it. First, or without an id only, return all
-- overdue reservations, as of their ends; and if the clock was set back, move the state and its reservations to now.
-- KEYS[1] state         see check.lua
-- KEYS[2] reservations  hash: id to "<end> <cost> <a> <b> <c> <d>", times in microseconds; a to d depend on the strategy:
--           flow   the cost's parts, parts of a microsecond, when its debt would be gone, plus `given`, parts of a unit of
--                  cost (absent if an earlier version wrote it)
--           fixed  since when the state counts   sliding  when the cost was taken   (b, c and d are 0)
--         first: the earliest end, or a time before it;   given: the total returned to a flow, microseconds
-- ARGV[1] now, Unix ms, or empty for Redis's own clock       ARGV[2] id; empty: only overdue reservations
-- ARGV[3] the longest time for which a reservation may be open, microseconds     ARGV[4] the used cost, units
-- ARGV[5] the highest cost that may be used, units, unless more was reserved
-- ARGV[6..] the strategy and its numbers: flow used cost as a time, its parts, parts of a microsecond, parts of a unit of cost,
--         capacity in units;   fixed length;   calendar start, end;   sliding length
-- Returns {1, n} settled   {0, 0} there is no such reservation, or it is overdue   {2, now} now is outside the calendar
--         window; nothing was done   {3, n} only a cost up to n may be used; nothing was done
-- O(1), O(reservations) if some are overdue; sliding O(entries) if anything is returned.
assert(#KEYS == 2 and #ARGV >= 7, "settle: 2 keys, a strategy and its numbers")
local FLOW, OLD_FLOW, FIXED, OLD_FIXED, ENTRY, WRAP = 32, 15, 21, 14, 12, 1099511627776
local state, holds, id, kind = KEYS[1], KEYS[2], ARGV[2], ARGV[6]
local longest, used, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = ARGV[1] * 1000
end
local margin = ARGV[1] == '' and 0 or 600000

local used_time, used_parts, parts, unit, units, start, stop, length
if kind == 'flow' then
  used_time, used_parts, parts = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
  unit, units = tonumber(ARGV[10]), tonumber(ARGV[11])
elseif kind == 'fixed' then
  start = now - now % tonumber(ARGV[7])
  stop = start + tonumber(ARGV[7])
elseif kind == 'calendar' then
  start, stop = tonumber(ARGV[7]), tonumber(ARGV[8])
  if now < start or now >= stop then return {2, now} end
else
  length = tonumber(ARGV[7])
end

-- The state, for a window also its numbers as in check.lua, and how far the clock was set back since it was written.
local text, ahead = redis.call('GET', state), 0
local since, count, ends
local bytes = text and #text or 0
if kind == 'flow' then
  if bytes == FLOW then ahead = struct.unpack('>I7', text, FLOW - 6) - now end
elseif start then
  if bytes == FIXED or bytes == OLD_FIXED then
    since, count = struct.unpack('>I7I7', text)
    ends = bytes == FIXED and struct.unpack('>I7', text, 15) or since >= start and stop or 0
    ahead = since - now
  end
elseif bytes > 0 and bytes % ENTRY == 0 then
  ahead = struct.unpack('>I7', text, bytes - ENTRY + 1) - now
end
local first = tonumber(redis.call('HGET', holds, 'first'))
local is_set_back = ahead > 0 or (first and first > now + longest)
ahead = math.max(ahead, 0)

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

-- A reservation to settle at the time `at`, with `used` of its cost. Without `units` its cost is unknown: an earlier version
-- wrote it for a rule that is no longer in force.
local function read(name, record)
  local over, taken, a, b, c, d = string.match(record, '^(%d+) (%d+) (%d+) (%d+) (%d+) ?(%d*)$')
  local one = {name = name, ends = tonumber(over), cost = tonumber(taken), a = tonumber(a), b = tonumber(b),
    c = tonumber(c), d = tonumber(d), used = 0, used_parts = 0}
  one.is_flow = one.b > 0
  local per = one.d and one.d > 0 and one.d or unit
  if not one.is_flow then one.units = one.cost elseif per then one.units = units_of(one.cost, one.a, per, one.b) end
  if is_set_back then
    one.ends = math.min(one.ends, now + longest)
    if one.is_flow then one.c = math.max(one.c - ahead, 0) elseif one.a > now then one.a = start or now end
  end
  one.at = one.ends
  return one
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
  local record = redis.call('HGET', holds, id)
  if not record then return {0, 0} end
  named = read(id, record)
  if named.ends <= now then return {0, 0} end
  -- What was reserved under a previous rule can be used, even if the limit is lower now.
  most = math.max(most, named.units or 0)
  if used > most then return {3, most} end
  named.used, named.used_parts, named.at = used_time or used, used_parts or 0, now
end

-- The reservations to settle, in the order of their times, those to move, and the earliest end of the others.
local settled, moved = {}, {}
if first and (first <= now or is_set_back) then
  first = nil
  local all = redis.call('HGETALL', holds)
  for at = 1, #all, 2 do
    if all[at] ~= 'first' and all[at] ~= 'given' then
      local one = read(all[at], all[at + 1])
      if one.ends <= now then
        settled[#settled + 1] = one
      else
        first = math.min(first or one.ends, one.ends)
        if is_set_back and one.name ~= id then moved[#moved + 1] = one end
      end
    end
  end
  table.sort(settled, function(one, other) return one.ends < other.ends end)
end
settled[#settled + 1] = named
-- How long the state still affects decisions, ms.
local life = 0

-- Every read that can fail comes before the first write. The first write deletes: if its memory is full, Redis still accepts
-- the rest of the script.
for _, one in ipairs(settled) do redis.call('HDEL', holds, one.name) end
for _, one in ipairs(moved) do
  redis.call('HDEL', holds, one.name)
  local record = string.format('%.0f %.0f %.0f %.0f %.0f', one.ends, one.cost, one.a, one.b, one.c)
  redis.call('HSET', holds, one.name, one.d and string.format('%s %.0f', record, one.d) or record)
end
for _, one in ipairs(settled) do
  -- A window does not contain what a flow has granted.
  if kind ~= 'flow' and one.is_flow then one.cost, one.a = one.units or one.used, -1 end
end

if kind == 'flow' then
  local given = tonumber(redis.call('HGET', holds, 'given') or '0')
  local free, free_parts = now, 0
  if bytes == FLOW or bytes == OLD_FLOW then
    free, free_parts = flow_debt(text, parts, unit, units)
    free = free + now
  end
  for _, one in ipairs(settled) do
    -- Drained debt needs no return. Returns since then have moved the end of this debt forward.
    local owed = math.max(one.c - given - one.at, 0)
    if not one.is_flow or one.d and one.d > 0 and (one.b ~= parts or one.d ~= unit) then
      -- A previous rule granted it: its cost takes another time now. The debt does not contain what a window has granted.
      owed = one.is_flow and math.ceil(owed * (unit / parts) / (one.d / one.b)) or 0
      one.cost, one.a = time_of(one.units, unit, parts)
      one.b = parts
      if one == named then one.used, one.used_parts = time_of(used, unit, parts) end
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
  elseif bytes == FLOW or bytes == OLD_FLOW then
    redis.call('DEL', state)
  end

elseif start then
  local began, sum, is_debt = start, 0, false
  if ends and ends > now then began, sum = since > now and start or since, count end
  for _, one in ipairs(settled) do
    local back = one.cost - one.used
    is_debt = is_debt or back < 0
    -- A cost taken in an earlier window no longer counts; a cost beyond the reservation counts now.
    if back < 0 or one.a == began then sum = math.max(sum - back, 0) end
  end
  if ends or is_debt then
    redis.call('SET', state, struct.pack('>I7I7I7', began, sum, stop), 'PX', math.ceil((stop - now) / 1000) + margin)
  end

else
  local former, is_debt = bytes > 0 and bytes % ENTRY == 0, false
  if not former then text = struct.pack('>I7I5', 0, 0) end
  local function entry(n) return struct.unpack('>I7I5', text, n * ENTRY + 1) end
  if ahead > 0 then
    local entries = {}
    for n = 0, #text / ENTRY - 1 do
      local time, total = entry(n)
      entries[n + 1] = struct.pack('>I7I5', math.min(time, now), total)
    end
    text = table.concat(entries)
  end
  for _, one in ipairs(settled) do
    local size = #text / ENTRY
    if one.cost >= one.used then
      -- The last entry with its time, if it has not left the window; all totals from there on decrease.
      local low, high = 0, size
      while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        if entry(middle) <= one.a then low = middle else high = middle end
      end
      if entry(low) == one.a and one.a > now - length then
        local less = {text:sub(1, low * ENTRY)}
        for n = low, size - 1 do
          local when, total = entry(n)
          less[#less + 1] = struct.pack('>I7I5', when, (total - (one.cost - one.used)) % WRAP)
        end
        text = table.concat(less)
      end
    else
      local last, total = entry(size - 1)
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
