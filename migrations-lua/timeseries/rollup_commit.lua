-- Store buckets of one series' rollups, if nobody else has filled in any meanwhile.
-- KEYS[1] series hash   KEYS[2] blocks hash      (both share a hash tag)
-- ARGV[1] revision  integer, as it was when the samples were read
-- ARGV[2] done      the beginning of `unrolled`, a list of `from:to,`, that is dealt with
-- ARGV[3] rest      what is left of it, in its place
-- ARGV[4] from      integer, Unix ms: rollups are filled from here on at most; empty: as before
-- ARGV[5 ..]        field, block, field, block, ...: a block's bytes under `name@start`, or the start of a rollup's oldest
--                   block under `name`; an empty block is removed
-- Returns 1, or 0 when somebody else was faster.   O(blocks)
assert(#KEYS == 2 and #ARGV >= 4 and #ARGV % 2 == 0, 'rollup_commit: 2 keys, 4 arguments and pairs')
local revision, unrolled = unpack(redis.call('HMGET', KEYS[1], 'revision', 'unrolled'))
if revision ~= ARGV[1] or unrolled:sub(1, #ARGV[2]) ~= ARGV[2] then return 0 end
for at = 5, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[at])
  else
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
-- What was changed while the samples were read stands behind what was dealt with, and stays.
redis.call('HSET', KEYS[1], 'unrolled', ARGV[3] .. unrolled:sub(#ARGV[2] + 1))
redis.call('HINCRBY', KEYS[1], 'revision', 1)
if ARGV[4] ~= '' and tonumber(ARGV[4]) > tonumber(redis.call('HGET', KEYS[1], 'rolled_from') or 0) then
  redis.call('HSET', KEYS[1], 'rolled_from', ARGV[4])
end
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
return 1
