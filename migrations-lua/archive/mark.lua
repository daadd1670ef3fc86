-- State which file has a minute of the window, unless the minute has changed since the file was written.
-- KEYS[1] archiver  integer, the turn of the replica that writes files
-- KEYS[2] minutes   hash, minute -> '<rev> <base> <trades>'      KEYS[3] dirty   sorted set, the minutes that no file has
-- KEYS[4] archived  hash, minute -> '<version> <rev> <sha256> <store>'
-- ARGV[1] fence     integer, the turn that the caller has        ARGV[2] minute  integer, Unix ms
-- ARGV[3] rev       integer, that of the minute in the file      ARGV[4] mark    the new value in KEYS[4]
-- Returns 1; 0 if the minute is another one; -1 if another replica has the turn. Then nothing was changed.   O(log minutes)
assert(#KEYS == 4 and #ARGV == 4, 'mark: 4 keys, 4 arguments')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '', '^%d+') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[2])
return 1
