-- Read the entries of a tape behind the position of one of its readers.
-- KEYS[1] tape      stream                    KEYS[2] positions  hash, reader -> the id of the last entry it has processed
-- ARGV[1] reader    field of KEYS[2]          ARGV[2] count      integer, the most entries
-- Returns {position, empty if there is none, and the entries as XRANGE does}. A position beyond the last entry is that of an
--   earlier tape, which was lost: then the entries begin at the first one.   O(log tape + entries)
assert(#KEYS == 2 and #ARGV == 2, 'pending: 2 keys, 2 arguments')
local position = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last or last[1] == position then return { position, {} } end
local function parts(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
local from = '-'
if position ~= '' then
  local ms, sequence = parts(position)
  local last_ms, last_sequence = parts(last[1])
  if ms < last_ms or (ms == last_ms and sequence < last_sequence) then from = '(' .. position end
end
return { position, redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[2]) }
