-- Give up the lease to rebuild a value.
-- KEYS[1] lease
-- ARGV[1] token  that the lease must have
-- Returns 1 if the lease was given up, otherwise 0.   O(1)
assert(#KEYS == 1 and #ARGV == 1, 'release: 1 key, 1 argument')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
