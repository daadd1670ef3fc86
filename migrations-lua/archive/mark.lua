-- State which files have minutes of the window, except those that have changed since their files were written.
-- KEYS[1] archiver  integer, the turn of the replica that writes files
-- KEYS[2] minutes   hash, minute -> '<rev> <base> <trades>'      KEYS[3] dirty   sorted set, the minutes that no file has
-- KEYS[4] archived  hash, minute -> '<version> <rev> <sha256> <store>'
-- ARGV[1] fence     integer, the turn that the caller has
-- ARGV[2 ..]        three for each minute: the minute (Unix ms), the rev of the minute in the file, and the new value in KEYS[4]
-- Returns the number of minutes that are marked, or -1 if another replica has the turn and nothing was changed.
--   O(minutes log window)
assert(#KEYS == 4 and #ARGV % 3 == 1, 'mark: 4 keys, 1 argument and 3 for each minute')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local marked = 0
for at = 2, #ARGV, 3 do
  if string.match(redis.call('HGET', KEYS[2], ARGV[at]) or '', '^%d+') == ARGV[at + 1] then
    redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 2])
    redis.call('ZREM', KEYS[3], ARGV[at])
    marked = marked + 1
  end
end
return marked
