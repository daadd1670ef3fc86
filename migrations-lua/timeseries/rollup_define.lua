-- Put another list of rollups in the place of one series' list, unless that has changed meanwhile.
-- KEYS[1] series hash   KEYS[2] head   KEYS[3] chunks   KEYS[4] blocks hash      (all share a hash tag)
-- ARGV[1] current  the list that must be there, JSON, or empty: none
-- ARGV[2] other    the new list, JSON, or empty: none; the same as current: nothing changes, but for the fence
-- ARGV[3] outlive  integer, ms that the longest rollup outlives the last write
-- ARGV[4] dropped  the name of the rollup that the new list lacks, or empty: one was added
-- Returns 1, 0 when another list is there, or -1 when there is no such series.   O(1), to drop one O(blocks)
assert(#KEYS == 4 and #ARGV == 4, 'rollup_define: 4 keys, 4 arguments')
local there = redis.call('HMGET', KEYS[1], 'retention_ms', 'rollups', 'revision')
if not there[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return -1
end
if (there[2] or '') ~= ARGV[1] then return 0 end
if ARGV[2] == ARGV[1] then return 1 end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'rollups', 'rolled', 'unrolled', 'outlive', 'trimmed', 'rolled_from', 'behind')
  redis.call('HINCRBY', KEYS[1], 'revision', 1)
  redis.call('UNLINK', KEYS[4])
  return 1
end
redis.call('HSET', KEYS[1], 'rollups', ARGV[2], 'outlive', ARGV[3])
-- Begins with the time, so that it is another one where a series was deleted and made again.
if not there[3] then redis.call('HSET', KEYS[1], 'revision', redis.call('TIME')[1]) end
redis.call('HINCRBY', KEYS[1], 'revision', 1)
if ARGV[4] ~= '' then
  redis.call('HDEL', KEYS[4], ARGV[4])
  for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
    if field:sub(1, #ARGV[4] + 1) == ARGV[4] .. '@' then redis.call('HDEL', KEYS[4], field) end
  end
  return 1
end
-- Nothing is filled in, and there may be something to fill in: whoever does it moves `rolled` on first.
redis.call('HSET', KEYS[1], 'rolled', 1, 'unrolled', '0:0,')
redis.call('HDEL', KEYS[1], 'trimmed', 'rolled_from')
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[3]) then
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(tonumber(ARGV[3]) * 17 / 16)))
  end
end
return 1
