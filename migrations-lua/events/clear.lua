-- Delete the stored messages of a channel and begin a new epoch; the offset goes on rising.
-- KEYS[1] meta   KEYS[2] log   KEYS[3] latest   (see publish.lua)
-- ARGV[1] epoch     random; the new epoch
-- ARGV[2] meta ttl  integer, milliseconds that the offset is remembered
-- ARGV[3] channel   the Redis channel; its subscribers are told, so that they learn of the epoch
-- Returns 1.   O(1); the memory is freed in the background
assert(#KEYS == 3 and #ARGV == 3, 'clear: 3 keys, 3 arguments')
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'e', ARGV[1], 'r', server)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], '{"cleared":true}')
return 1
