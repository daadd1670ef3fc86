-- Delete a value that a reader found to be invalidated, unless it was written again in the meantime.
-- KEYS[1] value   KEYS[2] stale copy
-- ARGV[1] expected  the SHA-1 (hex) of the invalid bytes
-- Returns 1 if deleted, otherwise 0.   O(1)
assert(#KEYS == 2 and #ARGV == 1, 'drop: 2 keys, 1 argument')
local current = redis.call('GET', KEYS[1])
if not current or redis.sha1hex(current) ~= ARGV[1] then
  return 0
end
-- The copy was written with the value and has the same tags.
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
