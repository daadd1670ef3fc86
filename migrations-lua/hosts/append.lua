-- Add chunks of samples to a host's history. Adding a chunk again changes nothing.
-- KEYS[1] chunks  sorted set: chunks, scored by their first timestamp      (all share a hash tag)
-- KEYS[2] hours   hash: unpacked hour, Unix ms, to the number of its last chunk; 'chunks': the last number
-- KEYS[3] deleted, ARGV[1] now, ARGV[2] age: see deleted.lua
-- ARGV[3] oldest  integer, Unix ms: chunks that start earlier are trimmed
-- ARGV[4] ttl     integer, ms, > 0: TTL of the history after this write
-- ARGV[5] n, ARGV[6] n + 1, ARGV[7] n + 2 ...: the hour and the first timestamp of a chunk, Unix ms, and its bytes
-- Returns the number of new chunks.   O(c * log(m)) for c chunks, m in the history, plus trimmed chunks
assert(#KEYS == 3 and #ARGV >= 7 and (#ARGV - 4) % 3 == 0, 'append: 3 keys, 4 arguments and triples')
local added = 0
for at = 5, #ARGV, 3 do
  added = added + redis.call('ZADD', KEYS[1], ARGV[at + 1], ARGV[at + 2])
  redis.call('HSET', KEYS[2], ARGV[at], redis.call('HINCRBY', KEYS[2], 'chunks', 1))
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return added
