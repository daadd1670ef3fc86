-- Note that the lists know one series under its labels; before that every write tells that they do not.
-- KEYS[1] series hash
-- ARGV[1] labels   under which the lists know it, JSON with sorted keys
-- Returns 1, or 0 when there is no such series any more, or when it has other labels by now.   O(1)
assert(#KEYS == 1 and #ARGV == 1, 'mark_listed: 1 key, 1 argument')
if redis.call('HGET', KEYS[1], 'labels') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'listed', 1)
return 1
