-- Replace the chunks of an hour and store its rollup, unless the hour was written to since it was read.
-- KEYS[1] chunks  sorted set: chunks, scored by their first timestamp              (all share a hash tag)
-- KEYS[2] hours   hash: unpacked hour, Unix ms, to the number of its last chunk
-- KEYS[3] hourly  sorted set: rollups, scored by their hour, Unix ms; the number of samples in bytes 2 to 5
-- KEYS[4] days    hash: day with hours packed since its rollup, Unix ms, to the last number of these
-- ARGV[1] hour    integer, Unix ms, its first          ARGV[2] next    integer, Unix ms, the first of the next hour
-- ARGV[3] number  integer: the value of the hour in the hash when it was read
-- ARGV[4] day     integer, Unix ms: the hour's day
-- ARGV[5] rollup  string: the rollup of the hour; empty if it has no samples
-- ARGV[6] oldest  integer, Unix ms: earlier rollups are trimmed      ARGV[7] ttl  integer, ms, > 0, of the rollups
-- ARGV[8] n, ARGV[9] n + 1 ...: the first timestamp of a chunk, Unix ms, and its bytes
-- Returns 1 if the chunks were replaced, 0 if the hour has changed.   O(c * log(m)) for c chunks, m in the history
assert(#KEYS == 4 and #ARGV >= 7 and #ARGV % 2 == 1, 'pack: 4 keys, 7 arguments and pairs')
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then return 0 end
-- Samples are only added: a rollup of fewer samples is of an hour that was trimmed in between.
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
local ttl = redis.call('PTTL', KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[1], '(' .. ARGV[2])
for at = 8, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[at], ARGV[at + 1])
end
-- A key loses its TTL with its last chunk.
if ttl > 0 then redis.call('PEXPIRE', KEYS[1], ttl) end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
