-- Roll a day up, unless an hour of it was packed since it was read.
-- KEYS[1] daily   sorted set: rollups, scored by their day, Unix ms; the number of samples in bytes 2 to 5
-- KEYS[2] days    hash: a day with hours packed since it was rolled up, Unix ms, and the last number of these
--                                                                                  (both share a hash tag)
-- ARGV[1] day     integer, Unix ms, its first
-- ARGV[2] number  integer: what the hash said of the day when it was read
-- ARGV[3] rollup  string: the day's; empty when no sample is left of it
-- ARGV[4] oldest  integer, Unix ms: rollups before are trimmed      ARGV[5] life  integer, ms, > 0, of the rollups
-- Returns 1 when it was put, 0 when the day has changed.   O(log(m)) for m rollups, and what is trimmed
assert(#KEYS == 2 and #ARGV == 5, 'roll: 2 keys, 5 arguments')
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
-- Samples are only ever added: a rollup of fewer is of a day that was trimmed in between.
local function count(rollup) return rollup and (struct.unpack('>I4', rollup, 2)) or 0 end
if ARGV[3] ~= '' and count(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[1])[1]) <= count(ARGV[3]) then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[1])
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
