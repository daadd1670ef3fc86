-- Store or remove the definition of a task, and tell all replicas that the definitions have changed.
-- KEYS[1] tasks  hash: task -> definition   KEYS[2] version  integer: changes of the hash so far
-- ARGV[1] task   ARGV[2] definition  JSON; empty: it is removed, which a full Redis permits
-- Returns the new version.   O(1)
assert(#KEYS == 2 and #ARGV == 2, 'define: 2 keys, 2 arguments')
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('INCR', KEYS[2])
