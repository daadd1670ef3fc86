-- Cancel an order.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua   ARGV[6] id   ARGV[7] owner  empty: of any owner
-- Returns {'order', <order>} with the order as in place.lua, as it has ended, or {'unknown'}.   O(log n)
assert(#KEYS == 13 and #ARGV == 7, 'cancel: 13 keys, 7 arguments')
sweep(16)
local order, past = find(ARGV[6])
local owner = order and order.owner or past and parse(ARGV[6], match(past, '^%S+ %S+ %S+ (.*)$')).owner
if not owner or (ARGV[7] ~= '' and owner ~= ARGV[7]) then return done({'unknown'}) end
return done({'order', past or close(order, 'cancelled')})
