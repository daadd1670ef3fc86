-- Read and delete a value in one step, for tokens that may be used once.
-- KEYS[1] value   KEYS[2] lease   KEYS[3] stale copy
-- ARGV[1] expected  empty: any value without tags; otherwise the SHA-1 (hex) of the stored bytes
-- Returns {'taken', bytes}, {'absent', ''}, {'tagged', ''} if the tags must be checked first, or {'changed', ''}.   O(1)
assert(#KEYS == 3 and #ARGV == 1, 'take: 3 keys, 1 argument')
local value = redis.call('GET', KEYS[1])
if not value then
  -- A value that is being rebuilt is taken, too.
  redis.call('UNLINK', KEYS[2], KEYS[3])
  return { 'absent', '' }
end
if ARGV[1] ~= '' then
  if redis.sha1hex(value) ~= ARGV[1] then
    return { 'changed', '' }
  end
elseif string.sub(value, 1, 4) == '\0gc\1' and (string.byte(value, 7) or 0) > 0 then
  return { 'tagged', '' }
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return { 'taken', value }
