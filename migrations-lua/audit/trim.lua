-- Remove the oldest entries of the audit log, which are exported, and keep the signed mark of where it now begins.
-- KEYS[1] log   stream, entry n has the id n-0           KEYS[2] base  hash, the mark
-- ARGV[1] from  integer, the seq in the mark that the caller has read; 0: there is none
-- ARGV[2] seq   integer, the last entry to remove        ARGV[3] mark  string, the new mark as JSON
-- Returns 1, or 0 if another caller has trimmed the log in the meantime.   O(removed entries)
assert(#KEYS == 2 and #ARGV == 3, 'trim: 2 keys, 3 arguments')
if tonumber(redis.call('HGET', KEYS[2], 'seq') or '0') ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[2], 'seq', ARGV[2], 'mark', ARGV[3])
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', ARGV[2] + 1))
return 1
