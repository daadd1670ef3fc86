-- Change price, quantity or end of an order. A lower quantity keeps its place; another price or a higher quantity does not.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua   ARGV[6] id   ARGV[7] owner  empty: of any owner
-- ARGV[8] ticks  integer   ARGV[9] quantity  30 digits, the filled part included   ARGV[10] expires  Unix ms; each may be
-- empty: as it is   ARGV[11] longest  integer, milliseconds since it was placed   ARGV[12] version  `<sequence> <rev>`; empty: any
-- Returns {'order', <order>} with the order as in place.lua, {'unknown'}, {'ended', <order>}, {'version'}, {'filled', <order>}
-- if the quantity is not above what is filled, {'overflow'} or {'expires', <now>}; all but the first changed nothing.
-- O(log n)
assert(#KEYS == 13 and #ARGV == 12, 'amend: 13 keys, 12 arguments')
sweep(16)
local order, past = find(ARGV[6])
local owner = order and order.owner or past and parse(ARGV[6], match(past, '^%S+ %S+ %S+ (.*)$')).owner
if not owner or (ARGV[7] ~= '' and owner ~= ARGV[7]) then return done({'unknown'}) end
if past then return done({'ended', past}) end
if ARGV[12] ~= '' and ARGV[12] ~= order.seq .. ' ' .. order.rev then return done({'version'}) end
local ticks = ARGV[8] ~= '' and ARGV[8] or order.ticks
local quantity = ARGV[9] ~= '' and ARGV[9] or order.quantity
local expires = ARGV[10] ~= '' and ARGV[10] or order.expires
local remaining = add(quantity, add(order.quantity, order.remaining, -1), -1)
if not remaining or remaining == ZERO then return done({'filled', LIVE .. text(order)}) end
-- From its creation: the index of its owner, which only `place` renews, must outlive it.
if expires ~= order.expires and (tonumber(expires) <= now or tonumber(expires) > order.created + ARGV[11]) then
  return done({'expires', moment})
end
local less = add(order.remaining, remaining, -1)
if ticks == order.ticks and quantity == order.quantity and expires == order.expires then
  return done({'order', LIVE .. text(order)})
end
local keeps_place = ticks == order.ticks and less
local change = ''
-- A full Redis permits writes behind a deletion, even of a field that does not exist: an owner must be able to reduce an order.
if keeps_place and less ~= ZERO and expires == order.expires then call('HDEL', ORDERS, '') end
if ticks ~= order.ticks then
  change = change_level(order.side, ticks, remaining, 1, 1)
elseif less ~= ZERO then
  change = change_level(order.side, ticks, less or add(remaining, order.remaining, -1), less and -1 or 1, 0)
end
if not change then return done({'overflow'}) end
if ticks ~= order.ticks then
  change = change_level(order.side, order.ticks, order.remaining, -1, -1) .. ';' .. change
end
local former = member(order)
order.rev = format('%d', order.rev + 1)
order.ticks, order.quantity, order.remaining, order.expires = ticks, quantity, remaining, expires
-- The new place first: a side that becomes empty would lose its TTL.
local record = store(order, not keeps_place)
if not keeps_place then call('ZREM', order.side == 'b' and BUY or SELL, former) end
emit('amended', change, line(order))
return done({'order', LIVE .. record})
