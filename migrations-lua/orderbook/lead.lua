-- Take or extend the lease of the replica that follows the books.
-- KEYS[1] lease   string, the leader's name
-- ARGV[1] name    of this replica   ARGV[2] ttl  integer, milliseconds
-- Returns 1 if this replica has the lease, otherwise 0.   O(1)
assert(#KEYS == 1 and #ARGV == 2, 'lead: 1 key, 2 arguments')
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
