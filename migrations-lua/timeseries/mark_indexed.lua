-- Note in a series that the index has it under its labels; until then every write reports that it is not listed.
-- KEYS[1] series hash
-- ARGV[1] labels   the labels under which the index has it, JSON with sorted keys
-- Returns 1, or 0 when the series does not exist or has other labels now.   O(1)
assert(#KEYS == 1 and #ARGV == 1, 'mark_indexed: 1 key, 1 argument')
if redis.call('HGET', KEYS[1], 'labels') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'listed', 1)
return 1
