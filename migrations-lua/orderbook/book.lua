-- The state of a book and the functions with which its scripts change it; the text precedes each of them.
-- KEYS[1] state   hash: generation, seq, due (no order expires before it, Unix ms), floor, server, rules, updated, armed,
--   last_price, as_of, source
-- KEYS[2] buy     KEYS[3] sell     sorted sets of <16-digit sequence><order id>, best first: by ticks, buys by 0 - ticks
-- KEYS[4] buy:levels   KEYS[5] sell:levels   sorted sets of ticks, in the same order
-- KEYS[6] levels  hash: <b|s><ticks> -> <30-digit quantity> <orders>; '=' <owner> -> when the owner was found to be full, Unix ms
-- KEYS[7] orders  hash: id -> record, see `text` below      KEYS[8] expiry  sorted set of ids by expires_at, Unix ms
-- KEYS[9] deltas  stream of <sequence>-0
-- KEYS[10 .. 13] done  hashes of four hours: id -> <status> <sequence> <ms> <record>
-- ARGV[1] now     Unix milliseconds; empty: Redis's time     ARGV[2] hour  integer, the hour of KEYS[10] since 1970
-- ARGV[3] life    integer, milliseconds that an idle book is kept
-- ARGV[4] rules   the book's rules as the caller knows them  ARGV[5] moved  the channel that announces a new sequence
-- Returns {'missing'} if there is no book, {'rules', <rules>} if the caller does not know its rules. Otherwise the
-- script that follows runs.   O(1), and 17 us for each order that it ends. Every call creates the functions below. A function, a
-- call of Lua's library and a number that becomes text cost up to 0.2 us each: hence local names, few small functions, texts
-- joined by `..`, arithmetic on text, and numbers that stay text.
assert(#KEYS >= 13 and #ARGV >= 5, 'book: 13 keys and 5 arguments before those of the script')
local call, sub, format, match = redis.call, string.sub, string.format, string.match
local STATE, BUY, SELL, BUY_LEVELS, SELL_LEVELS, LEVELS, ORDERS, EXPIRY, DELTAS = unpack(KEYS, 1, 9)
local ZERO, LIVE, HOUR = '000000000000000000000000000000', 'live 0 0 ', 3600000

local moment = ARGV[1]
if moment == '' then
  local time = call('TIME')
  -- Seconds, then the first three of the six digits of the microseconds.
  moment = time[1] .. sub('00000' .. time[2], -6, -4)
end
local now = tonumber(moment)
local hour = (now - now % HOUR) / HOUR - ARGV[2] + 1
assert(hour >= 1 and hour <= 4, 'book: the clocks of Redis and of the service differ by more than an hour')

local book = call('HMGET', STATE, 'generation', 'seq', 'server', 'rules', 'armed', 'due')
local generation, sequence, rules, due = book[1], tonumber(book[2]) or 0, book[4], tonumber(book[6]) or 0
if not generation then return {'missing'} end
if ARGV[4] ~= rules then return {'rules', rules} end
-- `number` is the text of `sequence`.
local began, due_then, number, is_new_key = sequence, due, book[2], false
-- A restarted server, or one that was a replica, may lack the newest changes and would use their numbers again.
local info = call('INFO', 'replication')
if not string.find(info, 'master_replid:' .. (book[3] or '-'), 1, true) then
  generation = format('%d', math.max(now * 1000, generation + 1))
  -- A full Redis permits writes behind a deletion, even of a field that does not exist: books must be readable.
  call('HDEL', STATE, '')
  call('HSET', STATE, 'generation', generation, 'server', match(info, 'master_replid:(%w+)'), 'floor', format('%d', sequence))
end

-- `left` plus `sign` times `right`, both of 30 digits; nil: out of range. A double is exact below 2^53. Larger quantities are two
-- numbers of 15 digits. A subtrahend that is not exact is larger than any exact `left`.
local function add(left, right, sign)
  local whole = left + 0
  local total = whole + sign * right
  if whole < 2^53 and total < 2^53 then return total >= 0 and format('%030d', total) or nil end
  local high = sub(left, 1, 15) + sign * sub(right, 1, 15)
  local low = sub(left, 16) + sign * sub(right, 16)
  if low >= 1e15 then
    high, low = high + 1, low - 1e15
  elseif low < 0 then
    high, low = high - 1, low + 1e15
  end
  return high >= 0 and high < 1e15 and format('%015d%015d', high, low) or nil
end

-- Adds `sign` times a quantity, and a number of orders, to a level. Returns the change: <b|s><ticks> <quantity> <orders>; nil if
-- the total is out of range and nothing was changed.
local function change_level(side, ticks, quantity, sign, orders)
  local name, levels = side .. ticks, side == 'b' and BUY_LEVELS or SELL_LEVELS
  local held = call('HGET', LEVELS, name)
  local total, count = quantity, orders
  if held then total, count = add(sub(held, 1, 30), quantity, sign), sub(held, 32) + orders end
  if not total then return nil end
  total = total .. ' ' .. count
  if count == 0 then
    call('HDEL', LEVELS, name)
    call('ZREM', levels, ticks)
  else
    call('HSET', LEVELS, name, total)
    if not held then
      call('ZADD', levels, side == 'b' and format('%d', 0 - ticks) or ticks, ticks)
      -- The first order of a side creates keys, which have no TTL yet.
      is_new_key = is_new_key or call('ZCARD', levels) == 1
    end
  end
  return name .. ' ' .. total
end

-- A record has no leading zeros, and no quantity if all of it remains: each would be a tenth of the memory of an order.
local function text(order)
  local remaining, quantity = match(order.remaining, '^0*(%d+)$'), ''
  if order.quantity ~= order.remaining then quantity = match(order.quantity, '^0*(%d+)$') end
  return '1 ' .. order.side .. ' ' .. order.ticks .. ' ' .. remaining .. ' ' .. order.seq .. ' ' .. order.owner .. ' '
    .. order.expires .. ' ' .. order.created .. ' ' .. quantity .. ' ' .. order.rev .. ' ' .. order.content
end
local function parse(id, record)
  local order = { id = id }
  order.side, order.ticks, order.remaining, order.seq, order.owner, order.expires, order.created, order.quantity, order.rev,
    order.content = match(record, '^1 ([bs]) (%S+) (%d+) (%d+) (%S+) (%d+) (%d+) (%d*) (%d+) (.*)$')
  order.remaining = sub(ZERO, #order.remaining + 1) .. order.remaining
  order.quantity = order.quantity == '' and order.remaining or sub(ZERO, #order.quantity + 1) .. order.quantity
  return order
end
-- What followers of orders learn of one. `status`: how it has ended; nil: it rests.
local function line(order, status)
  status = status or (order.remaining == order.quantity and 'active' or 'partially_filled')
  return order.id .. ' ' .. order.side .. ' ' .. order.ticks .. ' ' .. order.remaining .. ' ' .. order.quantity .. ' '
    .. order.owner .. ' ' .. status
end

-- Appends a delta and returns its sequence, `following` if the caller has its text.
local function emit(kind, changes, orders, trade, following)
  sequence = sequence + 1
  number = following or format('%d', sequence)
  call('XADD', DELTAS, number .. '-0', 'k', kind, 't', moment, 'c', changes, 'o', orders, 'f', trade or '')
  -- The stream is trimmed by nodes of 100 entries.
  if sequence % 100 == 0 then call('XTRIM', DELTAS, 'MAXLEN', '~', '10000') end
  return number
end

-- The member of an order in its side.
local function member(order)
  return sub(ZERO, #order.seq + 15) .. order.seq .. order.id
end
-- Stores an order, whose level has it already, and returns its record. `is_last`: behind those of its price, with the sequence of
-- the next delta.
local function store(order, is_last)
  if is_last then
    order.seq = format('%d', sequence + 1)
    local is_buy = order.side == 'b'
    call('ZADD', is_buy and BUY or SELL, is_buy and format('%d', 0 - order.ticks) or order.ticks, member(order))
  end
  local record = text(order)
  call('ZADD', EXPIRY, order.expires, order.id)
  if order.expires - due < 0 then due = tonumber(order.expires) end
  call('HSET', ORDERS, order.id, record)
  return record
end
-- Removes an order, and remembers how it ended, for repetitions. `ended_by` is the sequence of the delta that ended it; nil: the
-- order was not filled, and leaves its level now.
local function close(order, status, ended_by)
  -- First what frees memory: a full Redis permits the other writes behind it.
  call('HDEL', ORDERS, order.id)
  call('ZREM', order.side == 'b' and BUY or SELL, member(order))
  call('ZREM', EXPIRY, order.id)
  call('HDEL', LEVELS, '=' .. order.owner)
  if not ended_by then
    local change = change_level(order.side, order.ticks, order.remaining, -1, -1)
    order.rev = format('%d', order.rev + 1)
    ended_by = emit(status, change, line(order, status))
  end
  local record, done = status .. ' ' .. ended_by .. ' ' .. moment .. ' ' .. text(order), KEYS[9 + hour]
  call('HSET', done, order.id, record)
  call('PEXPIRE', done, 3 * HOUR)
  return record
end

-- Ends up to `limit` expired orders; returns whether more have expired.
local function sweep(limit)
  if now < due then return false end
  local ended = call('ZRANGEBYSCORE', EXPIRY, '-inf', moment, 'LIMIT', 0, limit + 1)
  for at = 1, math.min(#ended, limit) do
    close(parse(ended[at], call('HGET', ORDERS, ended[at])), 'expired')
  end
  due = tonumber(call('ZRANGE', EXPIRY, 0, 0, 'WITHSCORES')[2]) or now + HOUR
  return #ended > limit
end
-- The value of an id in the hashes of this hour and the two before it; `first` is the position of the first hash.
local function recall(first, id)
  for at = hour, hour > 2 and hour - 2 or 1, -1 do
    local found = call('HGET', KEYS[first + at - 1], id)
    if found then return found end
  end
end
-- The order with this id if it rests, otherwise nil and how it ended.
local function find(id)
  local record = call('HGET', ORDERS, id)
  if not record then return nil, recall(10, id) end
  local order = parse(id, record)
  if tonumber(order.expires) <= now then return nil, close(order, 'expired') end
  return order
end

-- The ids and records of the resting orders of an owner, oldest first. Ids of orders that have ended leave the index of the owner, unless a snapshot that
-- is being written has them. Parts of 1,000: `unpack` takes at most 8,000.
local function owned(index, owner, staged)
  local ids, orders, gone = call('ZRANGE', index, 0, -1), {}, {}
  local is_staged = call('EXISTS', staged) == 1
  for from = 1, #ids, 1000 do
    local to = math.min(from + 999, #ids)
    local records = call('HMGET', ORDERS, unpack(ids, from, to))
    local next = is_staged and call('HMGET', staged, unpack(ids, from, to)) or {}
    for at = from, to do
      local record = records[at - from + 1]
      if record and match(record, '^1 [bs] %S+ %d+ %d+ (%S+)') == owner then
        orders[#orders + 1] = { ids[at], record }
      elseif not next[at - from + 1] then
        gone[#gone + 1] = ids[at]
      end
    end
  end
  for from = 1, #gone, 1000 do call('ZREM', index, unpack(gone, from, math.min(from + 999, #gone))) end
  return orders
end

-- Completes the script: every path returns through it, since a sweep may have changed the book.
local function done(reply)
  if sequence > began then
    if due == due_then then
      call('HSET', STATE, 'seq', number, 'updated', moment)
    else
      call('HSET', STATE, 'seq', number, 'updated', moment, 'due', format('%d', due))
    end
    if is_new_key or now - (book[5] or 0) > ARGV[3] / 16 then
      call('HSET', STATE, 'armed', moment)
      for at = 1, 9 do call('PEXPIRE', KEYS[at], ARGV[3]) end
    end
    call('PUBLISH', ARGV[5], number)
  end
  return reply
end
