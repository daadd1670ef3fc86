-- Read the deltas after a sequence, and the ten best levels of each side as they are now.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1 .. 5]   see book.lua   ARGV[6] after  integer, the sequence that the reader has   ARGV[7] limit  integer, deltas
-- ARGV[8] events  '1' for the follower of events, which also reads the deltas of earlier generations
-- Returns {'due'} as view.lua, {'trimmed', generation, sequence} if deltas after it are gone, or {'changes', generation,
-- sequence, updated, deltas, <sequence>, <kind>, <ms>, <changes>, <orders>, <trade>, ..., <level>, ...} with six words for each
-- delta, and levels as in view.lua.   O(limit)
assert(#KEYS == 13 and #ARGV == 8, 'changes: 13 keys, 8 arguments')
if sweep(64) then return done({'due'}) end
local after, limit = tonumber(ARGV[6]), tonumber(ARGV[7])
local oldest = after < sequence and call('XRANGE', DELTAS, '-', '+', 'COUNT', 1)[1]
local first = oldest and tonumber(match(oldest[1], '^%d+')) or sequence + 1
if ARGV[8] ~= '1' and (after > sequence or after < tonumber(call('HGET', STATE, 'floor') or 0) or after + 1 < first) then
  return done({ 'trimmed', generation, format('%d', sequence) })
end
local entries = after < sequence
  and call('XRANGE', DELTAS, format('(%d-0', after), '+', 'COUNT', limit) or {}
local reply = { 'changes', generation, format('%d', sequence), sequence > began and moment
  or call('HGET', STATE, 'updated'), tostring(#entries) }
for _, entry in ipairs(entries) do
  reply[#reply + 1] = match(entry[1], '^%d+')
  for at = 2, #entry[2], 2 do reply[#reply + 1] = entry[2][at] end
end
for _, side in ipairs({ 'b', 's' }) do
  local names = call('ZRANGE', side == 'b' and BUY_LEVELS or SELL_LEVELS, 0, 9)
  for at, ticks in ipairs(names) do names[at] = side .. ticks end
  if #names > 0 then
    for at, level in ipairs(call('HMGET', LEVELS, unpack(names))) do reply[#reply + 1] = names[at] .. ' ' .. level end
  end
end
return done(reply)
