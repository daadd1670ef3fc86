-- Note that the index knows one series; before that every write tells that it does not.
-- KEYS[1] series hash
-- Returns 1, or 0 when there is no such series any more.   O(1)
assert(#KEYS == 1 and #ARGV == 0, 'mark_listed: 1 key, no arguments')
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'listed', 1)
return 1
