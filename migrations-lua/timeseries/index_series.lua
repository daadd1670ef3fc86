-- Add a series to the index under its name and labels, instead of the labels that the index had for it.
-- KEYS[1] names     sorted set of series, all with score 0        (all three share a hash tag)
-- KEYS[2] labels    hash: the labels under which the index has a series, JSON; only series with labels
-- KEYS[3] postings  sorted set of `label NUL value NUL series`, all with score 0
-- ARGV[1] series    ARGV[2] labels, a JSON object of strings with sorted keys
-- Returns 1.   O(labels * log(postings))
assert(#KEYS == 3 and #ARGV == 2, 'index_series: 3 keys, 2 arguments')
local series, labels = ARGV[1], ARGV[2]

local function members(json)
  local found = {}
  for name, value in pairs(cjson.decode(json)) do
    found[#found + 1] = name .. '\0' .. value .. '\0' .. series
  end
  return found
end

local before = redis.call('HGET', KEYS[2], series)
if before and before ~= labels then
  for _, member in ipairs(members(before)) do redis.call('ZREM', KEYS[3], member) end
end
for _, member in ipairs(members(labels)) do redis.call('ZADD', KEYS[3], 0, member) end
if labels == '{}' then
  redis.call('HDEL', KEYS[2], series)
else
  redis.call('HSET', KEYS[2], series, labels)
end
redis.call('ZADD', KEYS[1], 0, series)
return 1
