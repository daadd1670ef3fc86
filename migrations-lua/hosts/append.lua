-- Add chunks of samples to a host's history. Adding a chunk again changes nothing.
-- KEYS[1] chunks  sorted set: chunks, scored by their first timestamp      (both share a hash tag)
-- KEYS[2] hours   hash: unpacked hour, Unix ms, to the number of its last chunk; 'chunks': the last number
-- ARGV[1] oldest  integer, Unix ms: chunks that start earlier are trimmed
-- ARGV[2] ttl     integer, ms, > 0: TTL of the history after this write
-- ARGV[3] n, ARGV[4] n + 1, ARGV[5] n + 2 ...: the hour and the first timestamp of a chunk, Unix ms, and its bytes
-- Returns the number of new chunks.   O(c * log(m)) for c chunks, m in the history, plus trimmed chunks
assert(#KEYS == 2 and #ARGV >= 5 and (#ARGV - 2) % 3 == 0, 'append: 2 keys, 2 arguments and triples')
local added = 0
for at = 3, #ARGV, 3 do
  added = added + redis.call('ZADD', KEYS[1], ARGV[at + 1], ARGV[at + 2])
  redis.call('HSET', KEYS[2], ARGV[at], redis.call('HINCRBY', KEYS[2], 'chunks', 1))
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return added
