-- End expired orders.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua
-- Returns {'swept', <1 if more orders have expired>, ended, generation, sequence, resting orders, levels of bids, of asks}.   O(64 log n)
assert(#KEYS == 13 and #ARGV == 5, 'sweep: 13 keys, 5 arguments')
local is_due = sweep(64)
return done({ 'swept', is_due and '1' or '0', format('%d', sequence - began), generation,
  format('%d', sequence), tostring(call('HLEN', ORDERS)),
  tostring(call('ZCARD', BUY_LEVELS)), tostring(call('ZCARD', SELL_LEVELS)) })
