-- Append entries to the audit log, if it ends as the caller expects. Without entries: read how it ends.
-- KEYS[1] log   stream, entry n has the id n-0           KEYS[2] head  hash, seq and hash of the newest entry
-- ARGV[1] seq   integer, that of the entry that the caller expects last; 0: none
-- ARGV[2] hash  string, its hash                         ARGV[3] key   string, the key id of the new hashes
-- ARGV[4] now   integer, Unix ms; empty: use the clock of Redis
-- ARGV[5..]     for each entry its text and its hash
-- A caller that knows a later entry than Redis has seen the log lose entries: it continues from what it knows.
-- Returns {1 if appended or 0, seq and hash of the last entry, now, seq of the newest entry in the stream}.   O(entries)
assert(#KEYS == 2 and #ARGV >= 4 and #ARGV % 2 == 0, 'append: 2 keys, 4 arguments and pairs of them')
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local head = redis.call('HMGET', KEYS[2], 'seq', 'hash')
local seq, hash = tonumber(head[1] or '') or 0, head[2] or ''
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
if last > seq then
  seq, hash = last, ''
  for field = 1, #newest[2] - 1, 2 do
    if newest[2][field] == 'h' then hash = newest[2][field + 1] end
  end
end
local expected = tonumber(ARGV[1])
local appended = 0
if #ARGV > 4 and (expected > seq or expected == seq and ARGV[2] == hash) then
  -- Changes nothing, but a full Redis permits the other writes behind it: what frees memory must be recorded, too.
  redis.call('PERSIST', KEYS[2])
  local previous = ARGV[2]
  seq = expected
  for at = 5, #ARGV, 2 do
    seq = seq + 1
    redis.call('XADD', KEYS[1], string.format('%.0f-0', seq),
      'e', ARGV[at], 'p', previous, 'h', ARGV[at + 1], 'k', ARGV[3])
    previous = ARGV[at + 1]
  end
  hash, appended = previous, 1
  redis.call('HSET', KEYS[2], 'seq', string.format('%.0f', seq), 'hash', hash)
end
return {appended, seq, hash, now, last}
