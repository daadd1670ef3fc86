-- Put other chunks in the place of an hour's, unless somebody wrote to the hour since it was read.
-- KEYS[1] chunks  sorted set: chunks, scored by their first timestamp      (both share a hash tag)
-- KEYS[2] hours   hash: hour, Unix ms, and how many chunks came since it was packed
-- ARGV[1] hour    integer, Unix ms, its first          ARGV[2] next  integer, Unix ms, the first of the hour behind it
-- ARGV[3] writes  integer: what the hash said of the hour when it was read
-- ARGV[4] n, ARGV[5] n + 1 ...: the first timestamp of a chunk, Unix ms, and its bytes
-- Returns 1 when they were put, 0 when the hour has changed.   O(c * log(m)) for c chunks, m in the history
assert(#KEYS == 2 and #ARGV >= 3 and #ARGV % 2 == 1, 'pack: 2 keys, 3 arguments and pairs')
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then return 0 end
local life = redis.call('PTTL', KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[1], '(' .. ARGV[2])
for at = 4, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[at], ARGV[at + 1])
end
-- A key whose last chunk went has lost its expiry.
if life > 0 then redis.call('PEXPIRE', KEYS[1], life) end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
