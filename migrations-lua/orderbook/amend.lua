-- Change price, quantity or end of an order. A lower quantity keeps its place; another price or a higher quantity does not.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua   ARGV[6] id   ARGV[7] owner  empty: of any owner
-- ARGV[8] ticks  integer   ARGV[9] quantity  30 digits, the filled part included   ARGV[10] expires  Unix ms; each may be
-- empty: as it is   ARGV[11] longest  integer, milliseconds   ARGV[12] version  `<sequence> <rev>`; empty: any
-- Returns {'order', <order>} with the order as in place.lua, {'unknown'}, {'ended', <order>}, {'version'}, {'filled', <order>}
-- if the quantity is not above what is filled, {'overflow'} or {'expires', <now>}; all but the first changed nothing.
-- O(log n)
assert(#KEYS == 13 and #ARGV == 12, 'amend: 13 keys, 12 arguments')
sweep(16)
local order, past = find(ARGV[6])
local owner = order and order.owner or past and parse(ARGV[6], string.match(past, '^%S+ %S+ %S+ (.*)$')).owner
if not owner or (ARGV[7] ~= '' and owner ~= ARGV[7]) then return done({'unknown'}) end
if past then return done({'ended', past}) end
if ARGV[12] ~= '' and ARGV[12] ~= order.seq .. ' ' .. order.rev then return done({'version'}) end
local ticks = ARGV[8] ~= '' and ARGV[8] or order.ticks
local quantity = ARGV[9] ~= '' and ARGV[9] or order.quantity
local expires = ARGV[10] ~= '' and ARGV[10] or order.expires
local remaining = minus(quantity, minus(order.quantity, order.remaining))
if not remaining or remaining == ZERO then return done({'filled', live(order)}) end
if expires ~= order.expires and (tonumber(expires) <= now or tonumber(expires) > now + tonumber(ARGV[11])) then
  return done({'expires', moment})
end
local less = minus(order.remaining, remaining)
if ticks == order.ticks and quantity == order.quantity and expires == order.expires then
  return done({'order', live(order)})
end
if ticks ~= order.ticks or not less then
  local level = redis.call('HGET', LEVELS, order.side .. ticks)
  local others = level and string.sub(level, 1, 30) or ZERO
  if ticks == order.ticks then others = minus(others, order.remaining) end
  if not plus(others, remaining) then return done({'overflow'}) end
end

order.rev = string.format('%.0f', order.rev + 1)
local change
if ticks ~= order.ticks or not less then
  remove(order)
  change = change_level(order.side, order.ticks, order.remaining, minus, -1) .. ';'
  if ticks == order.ticks then change = '' end
  order.ticks, order.quantity, order.remaining, order.expires = ticks, quantity, remaining, expires
  change = change .. insert(order)
else
  change = less == ZERO and '' or change_level(order.side, ticks, less, minus, 0)
  order.quantity, order.remaining, order.expires = quantity, remaining, expires
  redis.call('ZADD', EXPIRY, expires, order.id)
  redis.call('HSET', ORDERS, order.id, text(order))
end
emit('amended', change, line(order, open_status(order)))
return done({'order', live(order)})
