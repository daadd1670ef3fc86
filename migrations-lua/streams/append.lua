-- Append events to a stream, all of them or none; each gets the next version.
-- KEYS[1] meta    hash: v last version, c and t times of the first and the last append, Unix milliseconds
-- KEYS[2] log     stream of <version>-0 {id, type, data, metadata, time}
-- KEYS[3] ids     sorted set: an id that a client chose -> version, as long as the event is kept
-- KEYS[4] groups  hash of <group>|<field> (see group.lua)
-- ARGV[1] expected  integer, the version of the stream; 'none' or 'exists'; empty: any
-- ARGV[2] size      integer, the most events of the stream
-- ARGV[3] age       integer, milliseconds; older events are trimmed by every tenth version, at most 256
-- ARGV[4] life      integer, milliseconds that the stream is remembered after its last append
-- ARGV[5] retain    'acked': only events that every group has acknowledged are trimmed; 'newest': any
-- ARGV[6] idle      integer, milliseconds after which an unused group does not count
-- ARGV[7] channel   whose subscribers are told the version
-- ARGV[8] now       Unix milliseconds; empty: Redis's time
-- ARGV[9 + 5n]      of each event: id, 1 if a client chose it or else 0, type, data, metadata (empty: none)
-- Returns {'appended' | 'duplicate', first version, last version, time}, or {'conflict' | 'id-used' | 'full', '0', version of
-- the stream, time}, all as text.   O(events), or O(groups + events trimmed)
assert(#KEYS == 4 and #ARGV >= 13 and (#ARGV - 8) % 5 == 0, 'append: 4 keys, 8 arguments and 5 for each event')
local size, age, idle = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
assert(size and age and idle and tonumber(ARGV[4]), 'append: size, age, life and idle are integers')
local now = tonumber(ARGV[8])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local function text(number)
  return string.format('%.0f', number)
end
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or 0)
local count = (#ARGV - 8) / 5
local known, first = 0, nil
for at = 0, count - 1 do
  local seen = ARGV[10 + 5 * at] == '1' and redis.call('ZSCORE', KEYS[3], ARGV[9 + 5 * at])
  if seen then
    known = known + 1
    first = first or tonumber(seen) - at
    -- Only the same events in the same order are a repetition.
    if tonumber(seen) ~= first + at then first = -1 end
  end
end
if known == count and first > 0 then
  local entry = redis.call('XRANGE', KEYS[2], text(first) .. '-0', text(first) .. '-0')[1]
  return { 'duplicate', text(first), text(first + count - 1), entry and entry[2][10] or text(now) }
end
if known > 0 then
  return { 'id-used', '0', text(version), text(now) }
end
local expected = ARGV[1]
if (expected == 'none' and version > 0) or (expected == 'exists' and version == 0)
  or (tonumber(expected) and tonumber(expected) ~= version) then
  return { 'conflict', '0', text(version), text(now) }
end
-- The lowest version that a group still needs.
local needed = version + count + 1
if ARGV[5] == 'acked' then
  local fields, low, used = redis.call('HGETALL', KEYS[4]), {}, {}
  for at = 1, #fields, 2 do
    local group, field = string.match(fields[at], '^(.*)|(%a+)$')
    if field == 'low' then low[group] = tonumber(fields[at + 1]) end
    if field == 'used' then used[group] = tonumber(fields[at + 1]) end
  end
  for group, lowest in pairs(low) do
    if used[group] and used[group] >= now - idle then needed = math.min(needed, lowest) end
  end
end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local head = oldest and tonumber(string.match(oldest[1], '^%d+')) or version + 1
local from = math.max(head, version + count - size + 1)
if from > needed then
  return { 'full', '0', text(version), text(now) }
end
local may_expire = oldest and tonumber(oldest[2][10]) < now - age
if may_expire and math.floor((version + count) / 10) > math.floor(version / 10) then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], text(from) .. '-0', '+', 'COUNT', 256)) do
    local at = tonumber(string.match(entry[1], '^%d+'))
    if tonumber(entry[2][10]) >= now - age or at >= needed then break end
    from = at + 1
  end
end
if from > head then
  redis.call('XTRIM', KEYS[2], 'MINID', text(from) .. '-0')
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. text(from))
end
for at = 0, count - 1 do
  local own = text(version + at + 1)
  local id, chosen, kind, data, metadata = unpack(ARGV, 9 + 5 * at, 13 + 5 * at)
  redis.call('XADD', KEYS[2], own .. '-0', 'id', id, 'type', kind, 'data', data, 'metadata', metadata, 'time', text(now))
  if chosen == '1' then redis.call('ZADD', KEYS[3], own, id) end
end
local last = text(version + count)
redis.call('HSET', KEYS[1], 'v', last, 't', text(now))
redis.call('HSETNX', KEYS[1], 'c', text(now))
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[4])
end
redis.call('PUBLISH', ARGV[7], last)
return { 'appended', text(version + 1), last, text(now) }
