-- Cancel orders of an owner.
-- KEYS[1 .. 13]  the keys of the book, see book.lua     KEYS[14] owner  sorted set of the owner's ids by sequence
-- KEYS[15] staged  hash, the orders of a snapshot that is being written
-- ARGV[1 .. 5]   see book.lua   ARGV[6] owner   ARGV[7] side  'b' or 's': only these orders; empty: both
-- Returns {'cancelled', count, <1 if more rest>}; at most 64 are cancelled.   O(orders of the owner)
assert(#KEYS == 15 and #ARGV == 7, 'cancel_owner: 15 keys, 7 arguments')
sweep(16)
local count, more, gone = 0, '0', {}
for _, found in ipairs(owned(KEYS[14], ARGV[6], KEYS[15])) do
  local order = parse(found[1], found[2])
  if ARGV[7] == '' or order.side == ARGV[7] then
    if count == 64 then
      more = '1'
      break
    end
    local is_due = tonumber(order.expires) <= now
    close(order, is_due and 'expired' or 'cancelled')
    if not is_due then count = count + 1 end
    if call('HEXISTS', KEYS[15], order.id) == 0 then gone[#gone + 1] = order.id end
  end
end
for from = 1, #gone, 1000 do call('ZREM', KEYS[14], unpack(gone, from, math.min(from + 999, #gone))) end
return done({ 'cancelled', tostring(count), more })
