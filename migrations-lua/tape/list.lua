-- List a symbol, and forget those that were last listed long ago.
-- KEYS[1] symbols  sorted set: symbol -> when it was last listed, Unix ms
-- ARGV[1] symbol   ARGV[2] now  integer, Unix ms   ARGV[3] life  integer, ms
-- Returns 1.   O(log symbols)
assert(#KEYS == 1 and #ARGV == 3, 'list: 1 key, 3 arguments')
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ARGV[2] - ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
