-- Reset or remove the TTL of a document.
-- KEYS[1] document   KEYS[2] version   KEYS[3] text  the module's document as written, if it is stored
-- ARGV[1] ttl        integer, milliseconds; 0: no expiry
-- ARGV[2] retention  integer, milliseconds by which the version outlives the document
-- ARGV[3] backend    'native' or 'module'
-- Returns 1, or 0 if no document exists.   O(1)
assert(#KEYS == 3 and #ARGV == 3, 'touch: 3 keys, 3 arguments')
local ttl, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(ttl and retention, 'touch: ttl and retention are integers')
-- Only documents are touched; STRLEN rejects every other type.
if ARGV[3] == 'module' then
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'none' then
    return 0
  elseif kind ~= 'ReJSON-RL' then
    return redis.error_reply('WRONGTYPE the key does not hold a value of the module')
  end
elseif redis.call('STRLEN', KEYS[1]) == 0 then
  return 0
end
if ttl == 0 then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
  redis.call('PERSIST', KEYS[3])
else
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl + retention)
  redis.call('PEXPIRE', KEYS[3], ttl)
end
return 1
