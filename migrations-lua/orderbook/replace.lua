-- Replace all levels of a book, or all orders, by those of a snapshot, which may come in several parts.
-- KEYS[1 .. 13]  the keys of the book, see book.lua   KEYS[14] progress  string: <name> <generation> <items> <sequence>
-- KEYS[15 .. 21] what replaces KEYS[2 .. 8]           KEYS[22 ..] owners  sorted sets of ids of the owners of these orders
-- ARGV[1 .. 5]   see book.lua   ARGV[6] name  of the snapshot   ARGV[7] before  integer, the items of the parts before
-- ARGV[8] last   '1' if this is the last part   ARGV[9] as_of  of levels, Unix milliseconds; empty: now
-- ARGV[10] source  integer, the sender's sequence; empty: none   ARGV[11] default   ARGV[12] longest   ARGV[13] own  as in place.lua
-- ARGV[14 ..]    the items of this part. A level: <b|s><ticks> and `<quantity> <orders>`. An order: id, side, ticks, quantity (30
--   digits), owner, which of KEYS[22 ..] from 1, expires, content, as in place.lua
-- Returns {'staged'} or {'replaced', generation, sequence, orders}. Or, if the book was not changed, {'stale', <what the last
-- snapshot has>}, {'interrupted'} if another snapshot has begun or a part was lost, or {'repeated' | 'expires' | 'overflow' |
-- 'owner-full', <now>, <item from 0>}. Orders that have expired are left out.   O(items log n), 12 us for each order; O(own) for
-- an owner near the limit
assert(#KEYS >= 21 and #ARGV >= 13, 'replace: 21 keys, 13 arguments and those of the items')
local is_orders, before, own = match(rules, '^%S+ (%S+)') == 'orders', tonumber(ARGV[7]), tonumber(ARGV[13])
local as_of = ARGV[9] ~= '' and ARGV[9] or moment
local last = call('HMGET', STATE, 'as_of', 'source')
if ARGV[10] ~= '' and last[2] and tonumber(ARGV[10]) <= tonumber(last[2]) then
  return {'stale', 'source_sequence ' .. last[2]}
end
if ARGV[10] == '' and last[1] and tonumber(as_of) < tonumber(last[1]) then return {'stale', 'as_of ' .. last[1]} end
-- The orders of a snapshot have the sequences behind the one that the book had when it began.
local now_at, base = sequence, sequence
if before == 0 then
  -- A full Redis refuses this write, and would permit those behind the deletion.
  call('SET', KEYS[14], '', 'PX', 600000)
  call('UNLINK', unpack(KEYS, 14, 21))
else
  local progress, expected = call('GET', KEYS[14]), ARGV[6] .. ' ' .. generation .. ' ' .. ARGV[7] .. ' '
  if not progress or sub(progress, 1, #expected) ~= expected then return {'interrupted'} end
  base = tonumber(sub(progress, #expected + 1))
end

-- The functions of the book work on the snapshot from here on.
BUY, SELL, BUY_LEVELS, SELL_LEVELS, LEVELS, ORDERS, EXPIRY = unpack(KEYS, 15, 21)
local width = is_orders and 8 or 2
local items, counts = (#ARGV - 13) / width, {}
local function refuse(status, item)
  call('UNLINK', unpack(KEYS, 14, 21))
  return {status, moment, tostring(item)}
end
-- Whether an owner has the most orders that a snapshot may have of it. Those that it has are behind `base` in the index, as are
-- orders that were placed meanwhile and those of a snapshot that was interrupted: only if there are so many, all are read.
local function is_full(at, owner)
  counts[at] = counts[at] or call('ZCOUNT', KEYS[21 + at], '(' .. format('%d', base), '+inf')
  if counts[at] >= own then counts[at] = #owned(KEYS[21 + at], owner, KEYS[7]) end
  return counts[at] >= own
end
sequence = base + before
for item = 0, items - 1 do
  if is_orders then
    local id, side, ticks, quantity, owner, at, expires, content = unpack(ARGV, 14 + item * width, 21 + item * width)
    expires, at = tonumber(expires) or now + tonumber(ARGV[11]), tonumber(at)
    if expires > now + tonumber(ARGV[12]) then return refuse('expires', item) end
    if call('HEXISTS', ORDERS, id) == 1 then return refuse('repeated', item) end
    if expires > now then
      if is_full(at, owner) then return refuse('owner-full', item) end
      counts[at] = counts[at] + 1
      if not change_level(side, ticks, quantity, 1, 1) then return refuse('overflow', item) end
      store({ id = id, side = side, ticks = ticks, remaining = quantity, quantity = quantity, owner = owner,
        expires = format('%d', expires), created = moment, rev = '1', content = content }, true)
      call('ZADD', KEYS[21 + at], sequence + 1, id)
    end
    sequence = sequence + 1
  else
    local level, total = ARGV[14 + item * width], ARGV[15 + item * width]
    local is_buy, ticks = sub(level, 1, 1) == 'b', sub(level, 2)
    call('HSET', LEVELS, level, total)
    call('ZADD', is_buy and BUY_LEVELS or SELL_LEVELS, is_buy and format('%d', 0 - ticks) or ticks, ticks)
  end
end
for at = 22, #KEYS do call('PEXPIRE', KEYS[at], ARGV[3]) end
if ARGV[8] ~= '1' then
  sequence = now_at
  call('SET', KEYS[14], ARGV[6] .. ' ' .. generation .. ' ' .. before + items .. ' ' .. format('%d', base), 'PX', 600000)
  for at = 15, 21 do call('PEXPIRE', KEYS[at], 600000) end
  return done({'staged'})
end
sequence = math.max(now_at, is_orders and sequence or 0)
for at = 1, 7 do
  -- RENAME alone would free the former key at once.
  call('UNLINK', KEYS[1 + at])
  -- It needs a source.
  if call('EXISTS', KEYS[14 + at]) == 1 then call('RENAME', KEYS[14 + at], KEYS[1 + at]) end
end
call('UNLINK', KEYS[14])
if not is_orders then call('HSET', STATE, 'as_of', as_of) end
if ARGV[10] ~= '' then call('HSET', STATE, 'source', ARGV[10]) end
emit('snapshot', '', '')
is_new_key, due = true, 0
return done({ 'replaced', generation, format('%d', sequence), tostring(call('HLEN', KEYS[7])) })
