-- Read a page of the orders of one side, in the order in which they match, or of one owner, oldest first.
-- KEYS[1 .. 13]  the keys of the book, see book.lua     KEYS[14] owner  sorted set of the owner's ids; else any key
-- ARGV[1 .. 5]   see book.lua   ARGV[6] list  'b', 's' or 'owner'   ARGV[7] owner  empty unless the list is that of an owner
-- ARGV[8] score  ARGV[9] sequence   of the last order of the page before, 16 digits; empty: the first page
-- ARGV[10] limit integer, orders, at most 500   ARGV[11] side  'b' or 's': only these orders of the owner; empty: both
-- Returns {'due'} as view.lua, or {'page', <score of the last>, <its sequence>, <id> <order>, ...} with each order as in
-- place.lua. The score is empty if nothing follows.   O(limit + log n)
assert(#KEYS == 14 and #ARGV == 11, 'page: 14 keys, 11 arguments')
if sweep(64) then return done({'due'}) end
local limit, is_own = tonumber(ARGV[10]), ARGV[6] == 'owner'
local list = is_own and KEYS[14] or ARGV[6] == 'b' and BUY or SELL
local from = 0
if ARGV[9] ~= '' then
  -- The rank behind the last order, even if it has ended: no id begins with this byte.
  local mark = is_own and '\255' or ARGV[9] .. '\255'
  -- A full Redis permits writes behind a deletion, even of a member that does not exist.
  call('ZREM', list, mark)
  call('ZADD', list, is_own and ARGV[9] or ARGV[8], mark)
  from = call('ZRANK', list, mark)
  call('ZREM', list, mark)
end
local found = call('ZRANGE', list, from, from + limit - 1, 'WITHSCORES')
local reply, ids = { 'page', '', '' }, {}
for at = 1, #found, 2 do ids[#ids + 1] = is_own and found[at] or sub(found[at], 17) end
if #ids == limit then
  reply[2], reply[3] = found[#found], is_own and found[#found] or sub(found[#found - 1], 1, 16)
end
if #ids > 0 then
  for at, record in ipairs(call('HMGET', ORDERS, unpack(ids))) do
    local order = record and parse(ids[at], record)
    if order and (not is_own or (order.owner == ARGV[7] and (ARGV[11] == '' or order.side == ARGV[11]))) then
      reply[#reply + 1] = ids[at] .. ' ' .. LIVE .. record
    end
  end
end
return done(reply)
