-- Write an integer that must never decrease, unless the key has the same or a higher one.
-- KEYS[1] target    string: integer
-- ARGV[1] value     integer                     ARGV[2] expires  integer, Unix milliseconds; empty: never
-- Returns 1 if it was written, else 0.   O(1)
assert(#KEYS == 1 and #ARGV == 2, 'raise: 1 key, 2 arguments')
local value = tonumber(ARGV[1])
assert(value, 'raise: value is an integer')
local present = tonumber(redis.call('GET', KEYS[1]) or '')
if present and present >= value then return 0 end
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
end
return 1
