-- Read an order, even if it has ended.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua   ARGV[6] id
-- Returns {'order', <order>} with the order as in place.lua, or {'unknown'}.   O(1)
assert(#KEYS == 13 and #ARGV == 6, 'find: 13 keys, 6 arguments')
local order, past = find(ARGV[6])
if not (order or past) then return {'unknown'} end
return done({'order', order and LIVE .. text(order) or past})
