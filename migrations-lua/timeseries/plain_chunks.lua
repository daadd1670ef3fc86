-- Read sealed chunks of a series that are still plain.
-- KEYS[1] series hash   KEYS[2] chunks sorted set      (both share a hash tag)
-- ARGV[1] limit  integer, chunks at most, >= 1
-- Returns {chunk, ...}, empty when the series does not exist.   O(limit * (log(chunks) + chunk size))
assert(#KEYS == 2 and #ARGV == 1, 'plain_chunks: 2 keys, 1 argument')
local marks, limit = redis.call('HGET', KEYS[1], 'plain') or '', tonumber(ARGV[1])
local chunks = {}
for at = 1, math.min(#marks, limit * 8), 8 do
  local high, low = struct.unpack('>I4I4', marks, at)
  local start = string.format('%.0f', (high - 2147483648) * 4294967296 + low)
  chunks[#chunks + 1] = redis.call('ZRANGEBYSCORE', KEYS[2], start, start, 'LIMIT', 0, 1)[1]
end
return chunks
