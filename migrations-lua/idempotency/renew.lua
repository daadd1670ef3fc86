-- Extend the claim of an attempt that is still running.
-- KEYS[1] record  hash, see claim.lua
-- ARGV[1] owner   string, identifies the attempt      ARGV[2] lease  integer, milliseconds, > 0
-- Returns 1, or 0 if the record no longer belongs to this attempt.   O(1)
assert(#KEYS == 1 and #ARGV == 2, "renew: 1 key, 2 arguments")
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
