-- Store the rollup of a day, unless an hour of the day was packed since it was read.
-- KEYS[1] daily   sorted set: rollups, scored by their day, Unix ms; the number of samples in bytes 2 to 5
-- KEYS[2] days    hash: day with hours packed since its rollup, Unix ms, to the last number of these
--                                                                                  (both share a hash tag)
-- ARGV[1] day     integer, Unix ms, its first
-- ARGV[2] number  integer: the value of the day in the hash when it was read
-- ARGV[3] rollup  string: the rollup of the day; empty if it has no samples
-- ARGV[4] oldest  integer, Unix ms: earlier rollups are trimmed      ARGV[5] ttl  integer, ms, > 0, of the rollups
-- Returns 1 if it was stored, 0 if the day has changed.   O(log(m)) for m rollups, plus trimmed rollups
assert(#KEYS == 2 and #ARGV == 5, 'roll: 2 keys, 5 arguments')
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
-- Samples are only added: a rollup of fewer samples is of a day that was trimmed in between.
local function count(rollup) return rollup and (struct.unpack('>I4', rollup, 2)) or 0 end
if ARGV[3] ~= '' and count(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[1])[1]) <= count(ARGV[3]) then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[1])
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
