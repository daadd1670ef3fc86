-- Deliver events to a consumer of a group: first those that were not acknowledged in time, then new ones.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[4] consumer   ARGV[5] count  integer, events   ARGV[6] bytes  integer; the list ends with the event that exceeds them
-- ARGV[7] held       integer, the most events that the group holds; at this number no new ones are delivered
-- Returns {'claimed' | 'no-stream' | 'no-group', version of the stream, cursor, pending, dead, events that became dead, events
-- that were trimmed, milliseconds until an event is due or '', {version, deliveries, delivery, id, type, data, metadata, time of
-- each event}}, all as text.   O(count log pending)
assert(#KEYS == 7 and #ARGV == 7, 'claim: 7 keys, 7 arguments')
local count, bytes, most_held = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
assert(count and bytes and most_held, 'claim: count, bytes and held are integers')
if not group then return { 'no-group' } end
local items, size, taken, buried, lost = {}, 0, 0, 0, 0
local function deliver(own, deliveries, entry)
  taken, group.delivery = taken + 1, group.delivery + 1
  hold(own, now + group.timeout, text(group.delivery) .. ' ' .. text(deliveries) .. ' ' .. ARGV[4])
  local at = #items
  items[at + 1], items[at + 2], items[at + 3] = own, text(deliveries), text(group.delivery)
  for value = 1, 5 do
    items[at + 3 + value] = entry[2][2 * value]
    size = size + #entry[2][2 * value]
  end
end
-- At most 1,000 events without a result, so that the call stays short.
while taken < count and size < bytes and buried + lost < 1000 do
  local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', text(now), 'LIMIT', 0, 1)[1]
  if not due then break end
  due = text(tonumber(due))
  local deliveries, consumer = string.match(redis.call('HGET', KEYS[6], due) or '0 0 -', '^%d+ (%d+) (.*)$')
  local entry = redis.call('XRANGE', KEYS[2], due .. '-0', due .. '-0')[1]
  if not entry then
    forget(due)
    lost = lost + 1
  elseif tonumber(deliveries) >= group.most then
    forget(due)
    redis.call('ZADD', KEYS[7], due, due .. ' ' .. deliveries .. ' ' .. text(now) .. ' ' .. consumer)
    buried = buried + 1
  else
    deliver(due, deliveries + 1, entry)
  end
end
local held = redis.call('ZCARD', KEYS[4])
while taken < count and size < bytes and group.cursor < version and held < most_held do
  -- About as many as fit, by the average so far.
  local fitting = taken == 0 and 8 or math.floor((bytes - size) * taken / math.max(size, 1)) + 1
  local asked = math.min(count - taken, most_held - held, fitting, 100)
  local entries = redis.call('XRANGE', KEYS[2], text(group.cursor + 1) .. '-0', '+', 'COUNT', asked)
  if #entries == 0 then
    lost = lost + version - group.cursor
    group.cursor = version
  end
  for _, entry in ipairs(entries) do
    if size >= bytes then break end
    local own = string.match(entry[1], '^%d+')
    lost = lost + tonumber(own) - group.cursor - 1
    group.cursor, held = tonumber(own), held + 1
    deliver(own, 1, entry)
  end
end
group.lost = group.lost + lost
save()
local next = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
return { 'claimed', text(version), text(group.cursor), text(group.pending), text(group.dead), text(buried), text(lost),
  next and text(math.max(tonumber(next) - now, 0)) or '', items }
