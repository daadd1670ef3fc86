-- Remove a stream from the list of streams, unless it was registered again since.
-- KEYS[1] index   KEYS[2] owners   as in register.lua
-- ARGV[1] stream  ARGV[2] at  integer, when it was listed, as register.lua has returned; empty: whenever it was
-- Returns 1, or 0 if it was registered again or is not listed.   O(log n)
assert(#KEYS == 2 and #ARGV == 2, 'unlist: 2 keys, 2 arguments')
local listed = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '')
if not listed or ARGV[2] ~= '' and listed ~= tonumber(ARGV[2]) then return 0 end
for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return 1
