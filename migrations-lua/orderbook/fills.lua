-- Apply fills of the matching engine, all or none, each trade once.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- KEYS[14 .. 17] fills  hashes of four hours: trade id -> <sequence> <digest> <buy remaining> <sell remaining>
-- KEYS[18] tape  stream of trades        KEYS[19] index  sorted set, the minutes of the window of trades
-- ARGV[1 .. 5]   see book.lua   ARGV[6] most  integer, the minutes of the window at which no fill is applied; empty: any number
-- ARGV[7 ..]     ten for each fill: trade id, buy id, sell id, ticks, quantity (30 digits), price and
-- quantity as printed, taker ('buy', 'sell' or empty), time (Unix ms; empty: now), digest of the fill
-- Returns {'filled', sequence, <replayed: 1 or 0> <sequence> <buy remaining> <sell remaining>, ...}, or {'refused', <fill from
-- 0>, <rule>, <what the rule compares>} or {'behind'}, which changed nothing.   O(fills log n); 30 us for a fill that ends both orders
assert(#KEYS == 19 and #ARGV % 10 == 6, 'fills: 19 keys, 6 arguments and 10 for each fill')
sweep(16)
local orders, results, planned = {}, {}, {}
local function load(id)
  if orders[id] == nil then
    local record = call('HGET', ORDERS, id)
    orders[id] = record and parse(id, record) or false
  end
  return orders[id]
end

-- Why a fill of this order is refused; otherwise the order has the rest.
local function refusal(id, side, name, ticks, quantity)
  local order = load(id)
  if not order then return name .. '-unknown', '' end
  if order.side ~= side then return name .. '-side', '' end
  if tonumber(order.expires) <= now then return name .. '-expired', order.expires end
  local difference = tonumber(ticks) - tonumber(order.ticks)
  if (side == 'b' and difference > 0) or (side == 's' and difference < 0) then return name .. '-price', order.ticks end
  local rest = add(order.remaining, quantity, -1)
  if not rest then return name .. '-quantity', order.remaining end
  order.remaining, order.rev = rest, format('%d', order.rev + 1)
end

for at = 7, #ARGV, 10 do
  local trade, buy, sell, ticks, quantity = unpack(ARGV, at, at + 4)
  local number = (at - 7) / 10
  local known = recall(14, trade)
  if known then
    local sequence_then, digest, rests = match(known, '^(%d+) (%S+) (.*)$')
    if digest ~= ARGV[at + 9] then return done({ 'refused', tostring(number), 'trade-reused', '' }) end
    results[number + 1] = '1 ' .. sequence_then .. ' ' .. rests
  else
    local rule, value = refusal(buy, 'b', 'buy', ticks, quantity)
    if not rule then rule, value = refusal(sell, 's', 'sell', ticks, quantity) end
    if rule then return done({ 'refused', tostring(number), rule, value }) end
    planned[#planned + 1] = { at = at, buy = orders[buy].remaining, sell = orders[sell].remaining }
  end
end

if #planned > 0 and ARGV[6] ~= '' and call('ZCARD', KEYS[19]) >= tonumber(ARGV[6]) then return done({ 'behind' }) end

-- An owner as clients write it.
local function unescaped(owner)
  return (string.gsub(owner, '%%(%x%x)', function(digits) return string.char(tonumber(digits, 16)) end))
end
local function status(remaining)
  return remaining == ZERO and 'filled' or 'partially_filled'
end
for _, fill in ipairs(planned) do
  local at = fill.at
  local trade, buy, sell, ticks, quantity, price, printed, taker, given = unpack(ARGV, at, at + 8)
  local when = given ~= '' and given or moment
  local changes, lines = {}, {}
  for _, part in ipairs({ { orders[buy], fill.buy }, { orders[sell], fill.sell } }) do
    local order, remaining = part[1], part[2]
    changes[#changes + 1] = change_level(order.side, order.ticks, quantity, -1, remaining == ZERO and -1 or 0)
    lines[#lines + 1] = table.concat({ order.id, order.side, order.ticks, remaining, order.quantity, order.owner,
      status(remaining) }, ' ')
  end
  local number = emit('filled', table.concat(changes, ';'), table.concat(lines, '\n'),
    table.concat({ trade, ticks, quantity, when }, ' '))
  call('XADD', KEYS[18], 'MAXLEN', '~', 1000000, '*', 'id', trade, 't', when, 'p', price, 'q', printed, 'side', taker,
    'buyer', unescaped(orders[buy].owner), 'seller',
    unescaped(orders[sell].owner), 'bo', buy, 'so', sell)
  call('HSET', KEYS[13 + hour], trade, number .. ' ' .. ARGV[at + 9] .. ' ' .. fill.buy .. ' ' .. fill.sell)
  call('HSET', STATE, 'last_price', ticks)
  results[(at - 7) / 10 + 1] = '0 ' .. number .. ' ' .. fill.buy .. ' ' .. fill.sell
  fill.number = number
end
if #planned > 0 then call('PEXPIRE', KEYS[13 + hour], 3 * HOUR) end
for _, fill in ipairs(planned) do
  for _, id in ipairs({ ARGV[fill.at + 1], ARGV[fill.at + 2] }) do
    local order = orders[id]
    if order and order.remaining ~= ZERO then
      call('HSET', ORDERS, id, text(order))
      orders[id] = false
    elseif order and (id == ARGV[fill.at + 1] and fill.buy or fill.sell) == ZERO then
      close(order, 'filled', fill.number)
      orders[id] = false
    end
  end
end
return done({ 'filled', format('%d', sequence), unpack(results) })
