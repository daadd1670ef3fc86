-- Move the position of a tape's reader, together with the results of what it has read, unless another replica was faster.
-- KEYS[1] tape      stream                    KEYS[2] positions  hash, reader -> the id of the last entry it has processed
-- KEYS[3 ..] hashes of results
-- ARGV[1] reader    field of KEYS[2]          ARGV[2] expected   its position so far; empty: none
-- ARGV[3] position  the id of the last entry that was read
-- ARGV[4] keep      integer, the entries behind the position that stay on the tape; empty: all
-- ARGV[5] life      integer, ms that the tape is kept; the positions are kept a day longer
-- ARGV[6 ..]        for each hash of results: its life in ms, the number n of its fields, and n fields and values
-- Returns 1, or 0 if the position was another one and nothing was changed.   O(fields + trimmed entries)
assert(#KEYS >= 2 and #ARGV >= 5, 'advance: 2 keys, 5 arguments, and those of the results')
local life = tonumber(ARGV[5])
assert(life, 'advance: life is an integer')
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local at = 6
for key = 3, #KEYS do
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
