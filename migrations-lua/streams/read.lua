-- Read a part of a stream.
-- KEYS[1] meta   KEYS[2] log   (see append.lua)
-- ARGV[1] order  'asc' or 'desc'
-- ARGV[2] from   integer, the version where the part begins; empty: where the order begins
-- ARGV[3] to     integer, the version where it ends at the latest; empty: where the order ends
-- ARGV[4] limit  integer, events        ARGV[5] bytes  integer; the part ends with the event that exceeds them
-- Returns {version of the stream or '' if there is no such stream, version of the oldest event that is kept or '', {version,
-- id, type, data, metadata, time of each event}}, all as text.   O(limit)
assert(#KEYS == 2 and #ARGV == 5, 'read: 2 keys, 5 arguments')
local limit, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
assert(limit and bytes, 'read: limit and bytes are integers')
local version = redis.call('HGET', KEYS[1], 'v')
if not version then return { '', '', {} } end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local first, events, size = oldest and string.match(oldest[1], '^%d+') or '', {}, 0
local is_ascending = ARGV[1] == 'asc'
local from = ARGV[2] ~= '' and ARGV[2] .. '-0' or (is_ascending and '-' or '+')
local to = ARGV[3] ~= '' and ARGV[3] .. '-0' or (is_ascending and '+' or '-')
while limit > 0 and size < bytes do
  -- About as many as fit, by the average so far.
  local taken = #events / 6
  local asked = math.min(limit, taken == 0 and 8 or math.floor((bytes - size) * taken / math.max(size, 1)) + 1, 500)
  local part = redis.call(is_ascending and 'XRANGE' or 'XREVRANGE', KEYS[2], from, to, 'COUNT', asked)
  for _, entry in ipairs(part) do
    local own, fields = string.match(entry[1], '^%d+'), entry[2]
    events[#events + 1] = own
    for at = 2, 10, 2 do
      events[#events + 1] = fields[at]
      size = size + #fields[at]
    end
    limit, from = limit - 1, '(' .. entry[1]
    if size >= bytes then break end
  end
  if #part < asked then break end
end
return { version, first, events }
