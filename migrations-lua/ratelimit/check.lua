-- Decide whether limits allow their costs, and take all costs or none; or only peek, or reserve one cost.
-- KEYS[1..] the state of each check, in order; for a limiter with reservations followed by their hash (see settle.lua)
-- ARGV[1]   now, Unix ms, or empty for Redis's own clock    ARGV[2]  "take", "peek" to change nothing, or "reserve"
-- ARGV[3..] with "reserve": the reservation's id, its duration in microseconds, the maximum of reservations of a key
-- ARGV[..]  per check: 1 if its refusal refuses all, plus 2 if it has reservations, plus 4 if callers choose its rule; with
--           reservations, the longest time for which one may be open; its strategy; the strategy's numbers. All numbers are
--           whole, times in microseconds unless another unit is stated:
--   flow      cost, its parts, parts of a microsecond, capacity, its parts     (cost and capacity as lengths of time),
--             parts of a unit of cost, capacity in units
--   fixed     cost, limit, length                            windows of one length, aligned to 1970
--   calendar  cost, limit, start, end                        the window that the service considers current
--   sliding   cost, limit, length
--   backoff   cost, limit, window, factor in thousandths, longest penalty in ms, decay, highest level
-- Returns {1 granted | 0 refused, then for each check, as of before the call: 0 the cost does not fit, 1 it fits, 2 it fits
--          and there was no state;   flow: debt, its parts;   fixed, calendar: used, time to the window's end;
--          sliding: used, time until no entry counts, until the oldest does not, until this cost fits;
--          backoff: used, time to the window's end, to the penalty's end}
--         Nothing was decided: {2, now} now is outside a calendar window; {3, n} reservations of the n-th check are
--         overdue, or the clock was set back since: settle.lua first; {4, n} the key has the maximum of reservations.
-- O(checks); sliding O(log n) more for its n entries, and amortized O(1) to drop old entries.
assert(#KEYS >= 1 and #ARGV >= 5, "check: a key for each check, and each check's numbers")

-- Bytes of a state by kind. A state of another length belongs to a previous strategy of the key, and is ignored. An earlier
-- version wrote flows of 15 bytes, without their rule and their time, and windows of 14 bytes, without their end.
local FLOW, OLD_FLOW, FIXED, OLD_FIXED, BACKOFF, ENTRY = 32, 15, 21, 14, 23, 12
-- The totals of a log wrap around to 0 here, far above what any window can contain.
local WRAP = 1099511627776
-- A log of up to this many entries is read in one piece, a longer one by bisection.
local SHORT = 64

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = ARGV[1] * 1000
end
-- Redis's clock advances while an injected clock stands still, so states are then kept ten minutes longer than they count.
local margin = ARGV[1] == '' and 0 or 600000
local take, reserve = ARGV[2] ~= 'peek', ARGV[2] == 'reserve'
local granted, reply, at, place, nth = true, {1}, reserve and 6 or 3, 0, 0
-- What to write, five items each: key, value, TTL in ms, whether to append, whether to write even if the call is refused.
local changes = {}
local function change(key, value, life, append, always)
  local next = #changes
  changes[next + 1], changes[next + 2], changes[next + 3] = key, value, math.ceil(life / 1000) + margin
  changes[next + 4], changes[next + 5] = append or false, always or false
end
-- Writes a state as the rule and the clock of this call see it, even if the call is refused.
local function renew(key, value, life)
  if take then change(key, value, life, false, true) end
end

-- The debt of a flow's state, its parts, and whether they are not those that the state contains. Also in settle.lua.
local function flow_debt(key, state, parts, unit, units, keeps_used)
  local free, rest, former_parts = struct.unpack('>I7I4I4', state)
  if #state == OLD_FLOW then
    -- Parts of another size belong to a previous rule: round up.
    if former_parts ~= parts and rest > 0 then free, rest = free + 1, 0 end
    if free < now then return 0, 0, false end
    return free - now, rest, false
  end
  local former_unit, former_units, written = struct.unpack('>I6I4I7', state, OLD_FLOW + 1)
  -- If the clock was set back, the debt is that of the time of the write.
  local debt = free - math.max(now, written)
  if debt < 0 then debt, rest = 0, 0 end
  if former_parts == parts and former_unit == unit and former_units == units then return debt, rest, written > now end
  -- A rule that another caller chose stays in force. Its debt must drain, even if this call is refused.
  if keeps_used and written > now then
    renew(key, struct.pack('>I7I4I4I6I4I7', now + debt, rest, former_parts, former_unit, former_units, now), debt + 1)
  end
  -- A previous rule: what was left stays left, up to the limit; if callers choose the rule, what was used stays used.
  local used = (debt * former_parts + rest) / former_unit
  local whole = math.floor(used + 0.5)
  if math.abs(used - whole) < 0.000001 then used = whole end
  used = keeps_used and math.min(used, units) or units - math.min(math.max(former_units - used, 0), units)
  debt = math.floor(used * unit / parts)
  rest = math.max(math.ceil(used * unit - debt * parts), 0)
  if rest >= parts then debt, rest = debt + 1, 0 end
  return debt, rest, not keeps_used
end

while place < #KEYS do
  place, nth = place + 1, nth + 1
  local key, flags, longest = KEYS[place], tonumber(ARGV[at]), nil
  if flags % 4 > 1 then at, longest = at + 1, tonumber(ARGV[at + 1]) end
  local kind = ARGV[at + 1]
  local cost, limit, head = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), #reply + 1
  -- `open` is the earliest end of the open reservations, if there are any.
  local fits, is_new, value, life, append, always, holds, open, mark, until_then
  if flags % 4 > 1 then
    place = place + 1
    holds = KEYS[place]
    open = redis.call('HGET', holds, 'first')
    if open then
      open = assert(tonumber(open), "check: the earliest end of reservations is a number")
      -- No reservation ends later than this, unless the clock was set back or the limiter's maximum was lowered.
      if open <= now or open > now + longest then return {3, nth} end
    end
    if reserve and redis.call('HLEN', holds) - 2 >= tonumber(ARGV[5]) then return {4, nth} end
  end

  if kind == 'flow' then
    -- Virtual scheduling (ITU-T I.371, the generic cell rate algorithm): the state is the time at which no debt is left.
    -- Whole microseconds and parts of a microsecond are kept apart, so that every sum is exact.
    local parts, most, most_parts = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    local unit, units = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    at = at + 9
    local function pack(debt, rest) return struct.pack('>I7I4I4I6I4I7', now + debt, rest, parts, unit, units, now) end
    local debt, debt_parts, state, is_stale = 0, 0, redis.call('GET', key)
    if state and (#state == FLOW or #state == OLD_FLOW) then
      if open and #state == FLOW and struct.unpack('>I7', state, FLOW - 6) > now then return {3, nth} end
      debt, debt_parts, is_stale = flow_debt(key, state, parts, unit, units, flags >= 4)
      if #state == OLD_FLOW and debt > most then debt, debt_parts, is_stale = most, most_parts, true end
      if is_stale and debt + debt_parts > 0 then renew(key, pack(debt, debt_parts), debt + 1) end
    end
    local after, after_parts = debt + cost, debt_parts + limit
    if after_parts >= parts then after, after_parts = after + 1, after_parts - parts end
    fits = after < most or (after == most and after_parts <= most_parts)
    is_new = not state
    if fits and take then value, life = pack(after, after_parts), after + 1 end
    -- Other calls may take costs until its end; the whole debt is then gone within the time of the capacity.
    if reserve then mark, until_then = {cost, limit, parts, now + after, unit}, now + tonumber(ARGV[4]) + most + 1 end
    reply[head + 1], reply[head + 2] = debt, debt_parts

  elseif kind == 'fixed' or kind == 'calendar' then
    local start, stop
    if kind == 'fixed' then
      local length = tonumber(ARGV[at + 4])
      at = at + 5
      start = now - now % length
      stop = start + length
    else
      start, stop = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
      at = at + 6
      if now < start or now >= stop then return {2, now} end
    end
    local began, used, state = start, 0, redis.call('GET', key)
    if state and (#state == FIXED or #state == OLD_FIXED) then
      local since, count = struct.unpack('>I7I7', state)
      local ends = #state == FIXED and struct.unpack('>I7', state, 15) or since >= start and now + 1 or 0
      if ends > now then
        if since > now and open then return {3, nth} end
        began, used = since > now and start or since, count
        -- Another end is that of a previous rule, or of before the clock was set back. The cost counts until the end of this
        -- window.
        if since > now or ends ~= stop then renew(key, struct.pack('>I7I7I7', began, used, stop), stop - now) end
      end
    end
    fits = used + cost <= limit
    is_new = not state
    if fits and take then value, life = struct.pack('>I7I7I7', began, used + cost, stop), stop - now end
    if reserve then mark, until_then = {cost, began, 0, 0, 0}, stop end
    reply[head + 1], reply[head + 2] = used, stop - now

  elseif kind == 'sliding' then
    -- A log of entries: the time, and the total of all costs up to then. The first entry has left the window; its total
    -- is where counting starts.
    local length = tonumber(ARGV[at + 4])
    at = at + 5
    local size = redis.call('STRLEN', key)
    is_new = size == 0
    local count = size % ENTRY == 0 and size / ENTRY or 0
    local used, all_gone, oldest_gone, room = 0, 0, 0, 0
    if count == 0 then
      fits = cost <= limit
      if fits and take then value = struct.pack('>I7I5I7I5', 0, 0, now, cost) end
    else
      local text = count <= SHORT and redis.call('GET', key)
      local function entry(n)
        if text then return struct.unpack('>I7I5', text, n * ENTRY + 1) end
        return struct.unpack('>I7I5', redis.call('GETRANGE', key, n * ENTRY, n * ENTRY + ENTRY - 1))
      end
      if entry(count - 1) > now then
        if open then return {3, nth} end
        -- The clock was set back. What was taken later than now counts as taken now, or it would count for too long.
        text = text or redis.call('GET', key)
        local entries = {}
        for n = 0, count - 1 do
          local time, total = entry(n)
          entries[n + 1] = struct.pack('>I7I5', math.min(time, now), total)
        end
        text = table.concat(entries)
        renew(key, text, length)
      end
      local gone, first = 0, count
      while first - gone > 1 do
        local middle = math.floor((gone + first) / 2)
        if entry(middle) <= now - length then gone = middle else first = middle end
      end
      local _, before = entry(gone)
      local last, total = entry(count - 1)
      used = (total - before) % WRAP
      fits = used + cost <= limit
      if used > 0 then all_gone, oldest_gone = last + length - now, entry(first) + length - now end
      if not fits and used > 0 then
        local short, enough = gone, count - 1
        while enough - short > 1 do
          local middle = math.floor((short + enough) / 2)
          local _, until_then = entry(middle)
          if (until_then - before) % WRAP >= used + cost - limit then enough = middle else short = middle end
        end
        room = entry(enough) + length - now
      end
      if fits and take then
        value = struct.pack('>I7I5', now, (total + cost) % WRAP)
        append = gone * 2 < count
        if not append then
          value = (text and text:sub(gone * ENTRY + 1) or redis.call('GETRANGE', key, gone * ENTRY, -1)) .. value
        end
      end
    end
    life = length
    if reserve then mark, until_then = {cost, now, 0, 0, 0}, now + length end
    reply[head + 1], reply[head + 2], reply[head + 3], reply[head + 4] = used, all_gone, oldest_gone, room

  else
    local window, factor, longest = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    local decay, highest = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    at = at + 9
    local began, used, barred, level, state = 0, 0, 0, 0, redis.call('GET', key)
    local function penalty(violations)
      local ms = window / 1000
      for _ = 1, violations do ms = math.min(math.floor(ms * factor / 1000), longest) end
      return ms * 1000
    end
    if state and #state == BACKOFF then
      began, used, barred, level = struct.unpack('>I7I7I7I2', state)
      level = math.min(level, highest)
      -- No penalty is longer than the rule says, and no window begins later than now, unless the clock was set back or the
      -- rule was changed.
      local last = barred > now and now + penalty(level < highest and level - 1 or level) or barred
      if barred > last or began > now then
        barred, began = math.min(barred, last), math.min(began, now)
        local stays = math.max(began + window, barred + level * decay) - now
        renew(key, struct.pack('>I7I7I7I2', began, used, barred, level), stays)
      end
    end
    if now >= began + window then began, used = now, 0 end
    fits = now >= barred and used + cost <= limit
    is_new = not state
    -- Each decay without a violation undoes one; the state lives until all violations are undone.
    local memory = math.max(began + window, barred + level * decay) - now
    if fits and take then
      value, life = struct.pack('>I7I7I7I2', began, used + cost, barred, level), memory
    elseif take and now >= barred then
      local passed = math.max(level - math.floor((now - barred) / decay), 0)
      local wait = penalty(passed)
      level = math.min(passed + 1, highest)
      barred = now + wait
      value, life, always = struct.pack('>I7I7I7I2', 0, 0, barred, level), wait + level * decay, true
    end
    reply[head + 1], reply[head + 2], reply[head + 3] = used, began + window - now, math.max(barred - now, 0)
  end

  reply[head] = not fits and 0 or is_new and 2 or 1
  granted = granted and (fits or flags % 2 == 0)
  if value then
    change(key, value, life, append, always)
    if mark then
      -- A reservation is the only check of its call, so its cost is granted and written below.
      local ends = now + tonumber(ARGV[4])
      local given = redis.call('HGET', holds, 'given') or '0'
      mark[4] = mark[4] + tonumber(given)
      redis.call('HSET', holds, 'given', given, 'first', string.format('%.0f', math.min(open or ends, ends)),
        ARGV[3], string.format('%.0f %.0f %.0f %.0f %.0f %.0f', ends, unpack(mark)))
      local left = math.ceil((math.max(ends, until_then) - now) / 1000) + margin
      if redis.call('PTTL', holds) < left then redis.call('PEXPIRE', holds, left) end
    end
  end
end

if not granted then reply[1] = 0 end
for nth = 1, #changes, 5 do
  if granted or changes[nth + 4] then
    if changes[nth + 3] then
      redis.call('APPEND', changes[nth], changes[nth + 1])
      redis.call('PEXPIRE', changes[nth], changes[nth + 2])
    else
      redis.call('SET', changes[nth], changes[nth + 1], 'PX', changes[nth + 2])
    end
  end
end
return reply
