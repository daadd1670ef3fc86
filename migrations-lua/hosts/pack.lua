-- Put other chunks in the place of an hour's and roll the hour up, unless somebody wrote to it since it was read.
-- KEYS[1] chunks  sorted set: chunks, scored by their first timestamp              (all share a hash tag)
-- KEYS[2] hours   hash: an hour that is not packed, Unix ms, and the number of the last chunk for it
-- KEYS[3] hourly  sorted set: rollups, scored by their hour, Unix ms; the number of samples in bytes 2 to 5
-- KEYS[4] days    hash: a day with hours packed since it was rolled up, Unix ms, and the last number of these
-- ARGV[1] hour    integer, Unix ms, its first          ARGV[2] next    integer, Unix ms, the first of the hour behind it
-- ARGV[3] number  integer: what the hash said of the hour when it was read
-- ARGV[4] day     integer, Unix ms: the hour's day
-- ARGV[5] rollup  string: the hour's; empty when no sample is left of it
-- ARGV[6] oldest  integer, Unix ms: rollups before are trimmed      ARGV[7] life  integer, ms, > 0, of the rollups
-- ARGV[8] n, ARGV[9] n + 1 ...: the first timestamp of a chunk, Unix ms, and its bytes
-- Returns 1 when they were put, 0 when the hour has changed.   O(c * log(m)) for c chunks, m in the history
assert(#KEYS == 4 and #ARGV >= 7 and #ARGV % 2 == 1, 'pack: 4 keys, 7 arguments and pairs')
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then return 0 end
-- Samples are only ever added: a rollup of fewer is of an hour that was trimmed in between.
local function count(rollup) return rollup and (struct.unpack('>I4', rollup, 2)) or 0 end
local is_newer = ARGV[5] ~= '' and count(redis.call('ZRANGEBYSCORE', KEYS[3], ARGV[1], ARGV[1])[1]) <= count(ARGV[5])
redis.call('HSET', KEYS[4], ARGV[4], ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[7])
if is_newer then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], ARGV[1], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[1], ARGV[5])
  redis.call('PEXPIRE', KEYS[3], ARGV[7])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[6])
local life = redis.call('PTTL', KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[1], '(' .. ARGV[2])
for at = 8, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[at], ARGV[at + 1])
end
-- A key whose last chunk went has lost its expiry.
if life > 0 then redis.call('PEXPIRE', KEYS[1], life) end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
