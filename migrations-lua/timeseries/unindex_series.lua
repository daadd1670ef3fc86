-- Remove a series from the index.
-- KEYS[1] names     sorted set of series, all with score 0        (all three share a hash tag)
-- KEYS[2] labels    hash: the labels under which the index has a series, JSON; only series with labels
-- KEYS[3] postings  sorted set of `label NUL value NUL series`, all with score 0
-- ARGV[1] series
-- Returns 1, or 0 when the index did not have it.   O(labels * log(postings))
assert(#KEYS == 3 and #ARGV == 1, 'unindex_series: 3 keys, 1 argument')
local series = ARGV[1]
local labels = redis.call('HGET', KEYS[2], series)
if labels then
  for name, value in pairs(cjson.decode(labels)) do
    redis.call('ZREM', KEYS[3], name .. '\0' .. value .. '\0' .. series)
  end
  redis.call('HDEL', KEYS[2], series)
end
return redis.call('ZREM', KEYS[1], series)
