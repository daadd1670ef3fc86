-- State to which version of its file the trades of a minute are added, unless the minute has changed.
-- KEYS[1] archiver  integer, the turn of the replica that writes files
-- KEYS[2] minutes   hash, minute -> '<rev> <base> <trades>'
-- ARGV[1] fence     integer, the turn that the caller has        ARGV[2] minute   integer, Unix ms
-- ARGV[3] rev       integer, the minute's                        ARGV[4] from     its base: '?' or '-'
-- ARGV[5] to        its new base: '-', or the number of a version
-- Returns 1; 0 if the minute is another one; -1 if another replica has the turn. Then nothing was changed.   O(1)
assert(#KEYS == 2 and #ARGV == 5, 'rebase: 2 keys, 5 arguments')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local rev, base, trades = string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '', '^(%d+) (%S+) (.*)$')
if rev ~= ARGV[3] or base ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], rev .. ' ' .. ARGV[5] .. ' ' .. trades)
return 1
