-- Give a document a new life from now on, or none that ends.
-- KEYS[1] document   KEYS[2] version   KEYS[3] text  what the module's value was written as, if it is kept
-- ARGV[1] ttl   integer, milliseconds; 0: no expiry
-- ARGV[2] life  integer, milliseconds by which the version outlives the document
-- Returns 1, or 0 when there is no document.   O(1)
-- ARGV[3] backend  'native' or 'module'
assert(#KEYS == 3 and #ARGV == 3, 'touch: 3 keys, 3 arguments')
local ttl, life = tonumber(ARGV[1]), tonumber(ARGV[2])
assert(ttl and life, 'touch: ttl and life are integers')
-- What is no document is not ours to prolong; STRLEN refuses it by itself.
if ARGV[3] == 'module' then
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'none' then
    return 0
  elseif kind ~= 'ReJSON-RL' then
    return redis.error_reply('WRONGTYPE what stands here is no value of the module')
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
  redis.call('PEXPIRE', KEYS[2], ttl + life)
  redis.call('PEXPIRE', KEYS[3], ttl)
end
return 1
