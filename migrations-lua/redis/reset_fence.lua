-- Forget the tokens that the target of guarded writes has seen.
-- KEYS[1] fence  see fence.lua
-- Returns the highest token as text; empty if there was none.   O(1)
assert(#KEYS == 1 and #ARGV == 0, "reset_fence: 1 key, no arguments")
local highest = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return highest or ''
