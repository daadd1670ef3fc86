-- Set the TTL of a value and of its stale copy.
-- KEYS[1] value   KEYS[2] stale copy
-- ARGV[1] ttl       integer, milliseconds, > 0
-- ARGV[2] stale     integer, milliseconds that the copy is kept longer than the value; 0: no copy
-- ARGV[3] expected  empty: any value without tags; otherwise the SHA-1 (hex) of the stored bytes
-- Returns 'touched', 'absent', 'tagged' if the tags must be checked first, or 'changed'.   O(1)
assert(#KEYS == 2 and #ARGV == 3, 'touch: 2 keys, 3 arguments')
local ttl, stale = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(ttl and ttl > 0 and stale, 'touch: ttl and stale are integers')
if ARGV[3] ~= '' then
  local current = redis.call('GET', KEYS[1])
  if not current then
    return 'absent'
  end
  if redis.sha1hex(current) ~= ARGV[3] then
    return 'changed'
  end
else
  local head = redis.call('GETRANGE', KEYS[1], 0, 6)
  if string.sub(head, 1, 4) == '\0gc\1' and (string.byte(head, 7) or 0) > 0 then
    return 'tagged'
  end
end
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then
  return 'absent'
end
if stale > 0 then
  redis.call('PEXPIRE', KEYS[2], ttl + stale)
end
return 'touched'
