-- Return the holder of a lock, the number of its waiters and the arrival of the first one, without the token.
-- KEYS[1] lease  KEYS[2] fence  KEYS[3] holder  KEYS[4] queue: see acquire.lua
-- Returns {held, remaining_ms, waiters, arrival_us, fence, acquired_at, owner, metadata}; remaining_ms is -1 if the lease
-- never expires; arrival_us is empty without waiters, the last three if another program acquired the lock.
-- O(log waiters)
assert(#KEYS == 4 and #ARGV == 0, "inspect: 4 keys, no arguments")
local held = redis.call('GET', KEYS[1])
local waiters = redis.call('ZCARD', KEYS[4])
local arrival = waiters > 0 and redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2] or ''
local fence = redis.call('GET', KEYS[2]) or ''
if not held then return {0, 0, waiters, arrival, fence, '', '', ''} end
local known = redis.call('HMGET', KEYS[3], 'token', 'acquired_at', 'owner', 'metadata')
if known[1] ~= held then known = {'', '', '', ''} end
return {1, redis.call('PTTL', KEYS[1]), waiters, arrival, fence, known[2] or '', known[3] or '', known[4] or ''}
