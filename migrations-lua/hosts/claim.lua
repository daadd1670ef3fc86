-- Make an organisation the owner of a host that has none.
-- KEYS[1] owner        string, the organisation
-- ARGV[1] organisation string, may be empty
-- Returns the owner.   O(1)
assert(#KEYS == 1 and #ARGV == 1, 'claim: 1 key, 1 argument')
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return ARGV[1] end
return redis.call('GET', KEYS[1])
