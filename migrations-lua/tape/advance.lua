-- Move the position of a tape's reader, together with the results of what it has read, unless another replica was faster.
-- KEYS[1] tape      stream                    KEYS[2] positions  hash, reader -> the id of the last entry it has processed
-- KEYS[3] index     sorted set, the minutes of the window        KEYS[4] dirty  sorted set, those that are not archived
-- KEYS[5] minutes   hash, minute -> '<rev> <base> <trades>'      KEYS[6] state  hash: rev, generation, since
-- KEYS[7 ..] hashes of results
-- ARGV[1] reader    field of KEYS[2]          ARGV[2] expected   its position so far; empty: none
-- ARGV[3] position  the id of the last entry that was read
-- ARGV[4] keep      integer, the entries behind the position that stay on the tape; empty: all
-- ARGV[5] life      integer, ms that the tape is kept; the positions are kept a day longer
-- ARGV[6] now       integer, Unix milliseconds; empty: Redis's own clock
-- ARGV[7] known     the generation in KEYS[6]; empty: none       ARGV[8] generation  the new one; the same one if there is one
-- ARGV[9] count     integer, the number of changed minutes
-- ARGV[10 ..]       for each of them: minute, the rev that it had (empty: it was not there), '<base> <trades>'; then for each
--   hash of results: its life in ms, the number n of its fields, and n fields and values
-- Returns 1, or 0 if the position, a minute or the generation was another one and nothing was changed.
--   O(fields + trimmed entries)
assert(#KEYS >= 6 and #ARGV >= 9, 'advance: 6 keys, 9 arguments, and those of minutes and results')
local life, count = tonumber(ARGV[5]), tonumber(ARGV[9])
assert(life and count, 'advance: life and count are integers')
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return 0 end
for at = 10, 7 + 3 * count, 3 do
  local known = redis.call('HGET', KEYS[5], ARGV[at])
  if (known and string.match(known, '^%d+') or '') ~= ARGV[at + 1] then return 0 end
end
local at = 10
if count > 0 then
  if (redis.call('HGET', KEYS[6], 'generation') or '') ~= ARGV[7] then return 0 end
  local time = redis.call('TIME')
  local now = tonumber(ARGV[6]) or time[1] * 1000 + math.floor(time[2] / 1000)
  -- Microseconds: the number is above all earlier ones, even if Redis has lost them.
  local rev = string.format('%.0f', math.max(now * 1000, (tonumber(redis.call('HGET', KEYS[6], 'rev') or '') or 0) + 1))
  redis.call('HSET', KEYS[6], 'rev', rev)
  redis.call('HSET', KEYS[6], 'generation', ARGV[8])
  redis.call('HSETNX', KEYS[6], 'since', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[6], 400 * 86400000)
  while at <= 7 + 3 * count do
    redis.call('HSET', KEYS[5], ARGV[at], rev .. ' ' .. ARGV[at + 2])
    redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at])
    redis.call('ZADD', KEYS[4], ARGV[at], ARGV[at])
    at = at + 3
  end
end
for key = 7, #KEYS do
  local fields = tonumber(ARGV[at + 1])
  for field = at + 2, at + 2 * fields, 2 do redis.call('HSET', KEYS[key], ARGV[field], ARGV[field + 1]) end
  redis.call('PEXPIRE', KEYS[key], ARGV[at])
  at = at + 2 + 2 * fields
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
-- Longer than the tape, so that no entry is read twice.
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', life + 86400000))
local surplus = ARGV[4] ~= '' and redis.call('XLEN', KEYS[1]) - tonumber(ARGV[4]) or 0
-- Whole nodes only, none with an entry that is not behind the position.
if surplus > 0 then redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[3], 'LIMIT', surplus) end
return 1
