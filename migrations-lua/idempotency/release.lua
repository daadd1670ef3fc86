-- Release a record, so that the next attempt runs.
-- KEYS[1] record  hash, see claim.lua            ARGV[1] owner  string, identifies the attempt
-- Returns 1, or 0 if the record no longer belongs to this attempt.   O(1)
assert(#KEYS == 1 and #ARGV == 1, "release: 1 key, 1 argument")
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
