-- The state of a book and the functions with which its scripts change it; the text precedes each of them.
-- KEYS[1] state   hash: generation, seq, floor, server, rules, updated, armed, last_price, as_of, source
-- KEYS[2] buy     KEYS[3] sell     sorted sets of <16-digit sequence><order id>, best first: by ticks, buys by 0 - ticks
-- KEYS[4] buy:levels   KEYS[5] sell:levels   sorted sets of ticks, in the same order
-- KEYS[6] levels  hash: <b|s><ticks> -> <30-digit quantity> <orders>
-- KEYS[7] orders  hash: id -> record, see `text` below      KEYS[8] expiry  sorted set of ids by expires_at, Unix ms
-- KEYS[9] deltas  stream of <sequence>-0
-- KEYS[10 .. 13] done  hashes of four hours: id -> <status> <sequence> <ms> <record>
-- ARGV[1] now     Unix milliseconds; empty: Redis's time     ARGV[2] hour  integer, the hour of KEYS[10] since 1970
-- ARGV[3] life    integer, milliseconds that an idle book is kept
-- ARGV[4] rules   the book's rules as the caller knows them  ARGV[5] moved  the channel that announces a new sequence
-- Returns {'missing'} if there is no book, {'rules', <rules>} if the caller does not know its rules. Otherwise the
-- script that follows runs.   O(1), and 17 us for each order that it ends
assert(#KEYS >= 13 and #ARGV >= 5, 'book: 13 keys and 5 arguments before those of the script')
local STATE, BUY, SELL, BUY_LEVELS, SELL_LEVELS, LEVELS, ORDERS, EXPIRY, DELTAS = unpack(KEYS, 1, 9)
local LIMB, ZERO = 1000000000000000, string.rep('0', 30)
local HOUR, DELTA_LIMIT = 3600000, 10000

local time = redis.call('TIME')
local now = tonumber(ARGV[1]) or time[1] * 1000 + math.floor(time[2] / 1000)
local moment = string.format('%.0f', now)
local hour = math.floor(now / HOUR) - tonumber(ARGV[2]) + 1
assert(hour >= 1 and hour <= 4, 'book: the clocks of Redis and of the service differ by more than an hour')

local book = redis.call('HMGET', STATE, 'generation', 'seq', 'server', 'rules', 'armed', 'floor')
local generation, sequence, floor = book[1], tonumber(book[2]) or 0, book[6] or '0'
if not generation then return {'missing'} end
if ARGV[4] ~= book[4] then return {'rules', book[4]} end
local began, is_new_key = sequence, false
-- A restarted server, or one that was a replica, may lack the newest changes and would use their numbers again.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
if server ~= book[3] then
  generation = string.format('%.0f', math.max(now * 1000, tonumber(generation) + 1))
  floor = string.format('%.0f', sequence)
  redis.call('HSET', STATE, 'generation', generation, 'server', server, 'floor', floor)
end

-- Quantities are 30 digits: two numbers of 15 digits, which a double represents exactly. nil: out of range.
local function limbs(digits)
  return tonumber(string.sub(digits, 1, 15)), tonumber(string.sub(digits, 16, 30))
end
local function plus(left, right)
  local high, low = limbs(left)
  local more, rest = limbs(right)
  high, low = high + more, low + rest
  if low >= LIMB then high, low = high + 1, low - LIMB end
  return high < LIMB and string.format('%015.0f%015.0f', high, low) or nil
end
local function minus(left, right)
  local high, low = limbs(left)
  local more, rest = limbs(right)
  high, low = high - more, low - rest
  if low < 0 then high, low = high - 1, low + LIMB end
  return high >= 0 and string.format('%015.0f%015.0f', high, low) or nil
end

local function score(side, ticks)
  return side == 'b' and string.format('%.0f', 0 - tonumber(ticks)) or ticks
end

-- Adds to a level, or with `minus` subtracts from it. Returns the change: <b|s><ticks> <quantity> <orders>.
local function change_level(side, ticks, quantity, operation, orders)
  local name = side .. ticks
  local held = redis.call('HGET', LEVELS, name)
  local total, count = ZERO, 0
  if held then total, count = string.sub(held, 1, 30), tonumber(string.sub(held, 32)) end
  total, count = operation(total, quantity), count + orders
  local levels = side == 'b' and BUY_LEVELS or SELL_LEVELS
  if count == 0 then
    redis.call('HDEL', LEVELS, name)
    redis.call('ZREM', levels, ticks)
  else
    redis.call('HSET', LEVELS, name, total .. ' ' .. count)
    if not held then redis.call('ZADD', levels, score(side, ticks), ticks) end
  end
  return name .. ' ' .. total .. ' ' .. count
end

local function text(order)
  return table.concat({ '1', order.side, order.ticks, order.remaining, order.seq, order.owner, order.expires, order.created,
    order.quantity, order.rev, order.digest, order.rest }, ' ')
end
local function parse(id, record)
  local order = { id = id }
  order.side, order.ticks, order.remaining, order.seq, order.owner, order.expires, order.created, order.quantity, order.rev,
    order.digest, order.rest =
    string.match(record, '^1 ([bs]) (%S+) (%d+) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (.*)$')
  return order
end
local function live(order)
  return 'live 0 0 ' .. text(order)
end
-- What followers of orders learn of one.
local function line(order, status)
  return table.concat({ order.id, order.side, order.ticks, order.remaining, order.quantity, order.owner, status }, ' ')
end
local function open_status(order)
  return order.remaining == order.quantity and 'active' or 'partially_filled'
end

-- Appends a delta and returns its sequence.
local function emit(kind, changes, orders, trade)
  sequence = sequence + 1
  local number = string.format('%.0f', sequence)
  redis.call('XADD', DELTAS, 'MAXLEN', '~', DELTA_LIMIT, number .. '-0', 'k', kind, 't', moment, 'c', changes, 'o', orders, 'f',
    trade or '')
  return number
end

local function member(order)
  return string.format('%016.0f', tonumber(order.seq)) .. order.id
end
-- Adds an order to the end of its level, with the sequence of the next delta.
local function insert(order)
  order.seq = string.format('%.0f', sequence + 1)
  local side = order.side == 'b' and BUY or SELL
  redis.call('ZADD', side, score(order.side, order.ticks), member(order))
  redis.call('ZADD', EXPIRY, order.expires, order.id)
  redis.call('HSET', ORDERS, order.id, text(order))
  -- The first order of a side creates keys, which have no TTL yet.
  is_new_key = is_new_key or redis.call('ZCARD', side) == 1
  return change_level(order.side, order.ticks, order.remaining, plus, 1)
end
local function remove(order)
  redis.call('ZREM', order.side == 'b' and BUY or SELL, member(order))
  redis.call('ZREM', EXPIRY, order.id)
  redis.call('HDEL', ORDERS, order.id)
end
-- Remembers how an order ended, for repetitions. `number` is the sequence of the delta that ended it.
local function archive(order, status, number)
  local record = status .. ' ' .. number .. ' ' .. moment .. ' ' .. text(order)
  redis.call('HSET', KEYS[9 + hour], order.id, record)
  redis.call('PEXPIRE', KEYS[9 + hour], 3 * HOUR)
  return record
end
-- Ends an order that was not filled.
local function close(order, status)
  remove(order)
  local change = change_level(order.side, order.ticks, order.remaining, minus, -1)
  order.rev = string.format('%.0f', order.rev + 1)
  return archive(order, status, emit(status, change, line(order, status)))
end

-- Ends up to `limit` expired orders; returns whether more have expired.
local function sweep(limit)
  local due = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', moment, 'LIMIT', 0, limit + 1)
  for at = 1, math.min(#due, limit) do
    close(parse(due[at], redis.call('HGET', ORDERS, due[at])), 'expired')
  end
  return #due > limit
end
-- The value of an id in the hashes of this hour and the two before it; `first` is the position of the first hash.
local function recall(first, id)
  for at = hour, math.max(hour - 2, 1), -1 do
    local found = redis.call('HGET', KEYS[first + at - 1], id)
    if found then return found end
  end
end
-- The order with this id if it rests, otherwise nil and how it ended.
local function find(id)
  local record = redis.call('HGET', ORDERS, id)
  if not record then return nil, recall(10, id) end
  local order = parse(id, record)
  if tonumber(order.expires) <= now then return nil, close(order, 'expired') end
  return order
end

-- Completes the script: every path returns through it, since a sweep may have changed the book.
local function done(reply)
  if sequence > began then
    local number = string.format('%.0f', sequence)
    redis.call('HSET', STATE, 'seq', number, 'updated', moment)
    local life = tonumber(ARGV[3])
    if is_new_key or now - (tonumber(book[5]) or 0) > life / 16 then
      redis.call('HSET', STATE, 'armed', moment)
      for at = 1, 9 do redis.call('PEXPIRE', KEYS[at], ARGV[3]) end
    end
    redis.call('PUBLISH', ARGV[5], number)
  end
  return reply
end
