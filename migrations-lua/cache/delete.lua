-- Delete a value with its stale copy and its lease.
-- KEYS[1] value   KEYS[2] lease   KEYS[3] stale copy
-- ARGV[1] expected  empty: anything; else the SHA-1 (hex) of the bytes that must stand there
-- Returns 1 when deleted, 0 when nothing stood there, -1 when something else did.   O(1)
assert(#KEYS == 3 and #ARGV == 1, 'delete: 3 keys, 1 argument')
-- STRLEN fails for other types, so that a hash or list of another program is not deleted.
local exists = redis.call('STRLEN', KEYS[1]) > 0 or redis.call('EXISTS', KEYS[1]) == 1
if exists and ARGV[1] ~= '' and redis.sha1hex(redis.call('GET', KEYS[1])) ~= ARGV[1] then
  return -1
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return exists and 1 or 0
