-- Store buckets of the rollups of a series, unless another replica has stored some since the samples were read.
-- KEYS[1] series hash   KEYS[2] blocks hash      (both share a hash tag)
-- ARGV[1] revision  integer, as it was when the samples were read
-- ARGV[2] done      the beginning of `unrolled`, a list of `from:to,`, that these buckets cover
-- ARGV[3] rest      the part of `done` that is still to be filled, which takes its place
-- ARGV[4] from      integer, Unix milliseconds: rollups are not filled before this time; empty leaves it unchanged
-- ARGV[5] needed    integer, Unix milliseconds: rollups still need the samples from this time on
-- ARGV[6 ..]        field, value, field, value, ...: the bytes of a block under `name@start`, or the start of a rollup's
--                   oldest block under `name`; an empty value removes the field
-- Returns 1, or 0 when another replica has stored buckets since.   O(blocks)
assert(#KEYS == 2 and #ARGV >= 5 and #ARGV % 2 == 1, 'rollup_commit: 2 keys, 5 arguments and pairs')
local revision, unrolled = unpack(redis.call('HMGET', KEYS[1], 'revision', 'unrolled'))
if revision ~= ARGV[1] or unrolled:sub(1, #ARGV[2]) ~= ARGV[2] then return 0 end
for at = 6, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[at])
  else
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
-- Changes made while the samples were read come after `done` in the list, and stay.
redis.call('HSET', KEYS[1], 'unrolled', ARGV[3] .. unrolled:sub(#ARGV[2] + 1))
redis.call('HINCRBY', KEYS[1], 'revision', 1)
redis.call('HSET', KEYS[1], 'needed_from', ARGV[5])
if ARGV[4] ~= '' and tonumber(ARGV[4]) > tonumber(redis.call('HGET', KEYS[1], 'rolled_from') or 0) then
  redis.call('HSET', KEYS[1], 'rolled_from', ARGV[4])
end
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
return 1
