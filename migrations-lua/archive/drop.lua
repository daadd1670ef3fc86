-- Remove a minute from the window whose file has just been read, unless the minute or its mark has changed.
-- KEYS[1] archiver  integer, the turn of the replica that writes files
-- KEYS[2] minutes   hash, minute -> '<rev> <base> <trades>'      KEYS[3] dirty   sorted set, the minutes that no file has
-- KEYS[4] archived  hash, minute -> '<version> <rev> <sha256> <store>'
-- KEYS[5] index     sorted set, the minutes of the window
-- KEYS[6] state     hash: store, the directory of the files; dropped, the latest removed minute
-- ARGV[1] fence     integer, the turn that the caller has        ARGV[2] minute  integer, Unix ms
-- ARGV[3] rev       integer, that of the minute in the file      ARGV[4] mark    the value in KEYS[4]
-- ARGV[5] store     the id of the caller's directory
-- Returns 1; 0 if the minute, its mark or the directory is another one; -1 if another replica has the turn. Then nothing was
--   changed.   O(log minutes)
assert(#KEYS == 6 and #ARGV == 5, 'drop: 6 keys, 5 arguments')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('HGET', KEYS[6], 'store') ~= ARGV[5] then return 0 end
if string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '', '^%d+') ~= ARGV[3] then return 0 end
if redis.call('HGET', KEYS[4], ARGV[2]) ~= ARGV[4] or redis.call('ZSCORE', KEYS[3], ARGV[2]) then return 0 end
local dropped = tonumber(redis.call('HGET', KEYS[6], 'dropped') or '')
if not dropped or dropped < tonumber(ARGV[2]) then redis.call('HSET', KEYS[6], 'dropped', ARGV[2]) end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[2])
return 1
