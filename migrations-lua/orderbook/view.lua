-- Read the best levels of a book.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua   ARGV[6] depth  integer, levels of each side
-- Returns {'due'} if orders have expired that are not swept yet: call again. Otherwise {'view', generation, sequence, updated,
-- buy orders, sell orders, as_of, <level>, ...} with each level as `<b|s><ticks> <quantity> <orders>`, best first, bids
-- before asks.   O(depth)
assert(#KEYS == 13 and #ARGV == 6, 'view: 13 keys, 6 arguments')
if sweep(64) then return done({'due'}) end
local state = call('HMGET', STATE, 'updated', 'as_of')
local reply = { 'view', generation, format('%d', sequence), sequence > began and moment or state[1],
  tostring(call('ZCARD', BUY)), tostring(call('ZCARD', SELL)), state[2] or '' }
for _, side in ipairs({ 'b', 's' }) do
  local names = call('ZRANGE', side == 'b' and BUY_LEVELS or SELL_LEVELS, 0, tonumber(ARGV[6]) - 1)
  for at, ticks in ipairs(names) do names[at] = side .. ticks end
  if #names > 0 then
    for at, level in ipairs(call('HMGET', LEVELS, unpack(names))) do
      reply[#reply + 1] = names[at] .. ' ' .. level
    end
  end
end
return done(reply)
