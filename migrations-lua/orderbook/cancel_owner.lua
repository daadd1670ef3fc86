-- Cancel orders of an owner.
-- KEYS[1 .. 13]  the keys of the book, see book.lua     KEYS[14] owner  sorted set of the owner's ids by sequence
-- ARGV[1 .. 5]   see book.lua   ARGV[6] owner   ARGV[7] side  'b' or 's': only these orders; empty: both
-- Returns {'cancelled', count, <1 if more rest>}; at most 64 are cancelled.   O(orders of the owner)
assert(#KEYS == 14 and #ARGV == 7, 'cancel_owner: 14 keys, 7 arguments')
sweep(16)
local ids, count, more, gone = call('ZRANGE', KEYS[14], 0, -1), 0, '0', {}
local records = #ids > 0 and call('HMGET', ORDERS, unpack(ids)) or {}
for at, id in ipairs(ids) do
  local order = records[at] and parse(id, records[at])
  if not order or order.owner ~= ARGV[6] then
    gone[#gone + 1] = id
  elseif ARGV[7] == '' or order.side == ARGV[7] then
    if count == 64 then
      more = '1'
      break
    end
    local is_due = tonumber(order.expires) <= now
    close(order, is_due and 'expired' or 'cancelled')
    if not is_due then count = count + 1 end
    gone[#gone + 1] = id
  end
end
if #gone > 0 then call('ZREM', KEYS[14], unpack(gone)) end
return done({ 'cancelled', tostring(count), more })
