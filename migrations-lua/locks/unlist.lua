-- Take released leases out of the index, unless they were granted anew meanwhile.
-- KEYS[1] index  sorted set of resources by the end of their lease, Unix microseconds
-- ARGV    pairs of resource and the end under which it was listed, microseconds
-- Returns the number of entries taken out.   O(pairs * log entries)
assert(#KEYS == 1 and #ARGV % 2 == 0, "unlist: 1 key, pairs of arguments")
local removed = 0
for at = 1, #ARGV, 2 do
  local listed = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if listed and tonumber(listed) == tonumber(ARGV[at + 1]) then
    removed = removed + redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
return removed
