-- Delete a value with its stale copy and its lease.
-- KEYS[1] value   KEYS[2] lease   KEYS[3] stale copy
-- ARGV[1] expected  empty: any value; otherwise the SHA-1 (hex) of the stored bytes
-- Returns 1 if deleted, 0 if there is no value, -1 if the value is another one.   O(1)
assert(#KEYS == 3 and #ARGV == 1, 'delete: 3 keys, 1 argument')
-- STRLEN fails for other types, so the script never deletes a hash or list of another program.
local exists = redis.call('STRLEN', KEYS[1]) > 0 or redis.call('EXISTS', KEYS[1]) == 1
if exists and ARGV[1] ~= '' and redis.sha1hex(redis.call('GET', KEYS[1])) ~= ARGV[1] then
  return -1
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return exists and 1 or 0
