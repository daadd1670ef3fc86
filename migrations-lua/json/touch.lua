-- Give a document a new life from now on, or none that ends.
-- KEYS[1] document   KEYS[2] version
-- ARGV[1] ttl   integer, milliseconds; 0: no expiry
-- ARGV[2] life  integer, milliseconds by which the version outlives the document
-- Returns 1, or 0 when there is no document.   O(1)
assert(#KEYS == 2 and #ARGV == 2, 'touch: 2 keys, 2 arguments')
local ttl, life = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(ttl and life, 'touch: ttl and life are integers')
-- STRLEN refuses what is no string: that is not ours to prolong.
if redis.call('STRLEN', KEYS[1]) == 0 then
  return 0
end
if ttl == 0 then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl + life)
end
return 1
