-- Read a stretch of one series that the module keeps, from one end of a window on.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- ARGV[1] from   ARGV[2] to    integers, Unix ms, both inclusive
-- ARGV[3] limit  integer, samples at most, >= 1
-- ARGV[4] order  'asc' or 'desc'
-- Returns what read.lua returns, with one plain chunk of the samples in ascending order.   O(limit + log(chunks))
assert(#KEYS == 2 and #ARGV == 4, 'module_read: 2 keys, 4 arguments')
local retention = tonumber(redis.call('HGET', KEYS[1], 'retention_ms'))
if not retention then
  if redis.call('EXISTS', unpack(KEYS)) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return {-1}
end
local newest = redis.call('TS.GET', KEYS[2])[1]
if not newest then return {1, 0} end
local floor = retention > 0 and math.max(newest - retention, 0) or 0
local from, to, limit = math.max(tonumber(ARGV[1]), floor), tonumber(ARGV[2]), tonumber(ARGV[3])
if from > to then return {1, floor} end

-- TS.REVRANGE without EMPTY, which harms some versions of the module.
local backwards = ARGV[4] == 'desc'
local found = redis.call(backwards and 'TS.REVRANGE' or 'TS.RANGE', KEYS[2], string.format('%.0f', from),
  string.format('%.0f', to), 'COUNT', ARGV[3])
if #found == 0 then return {1, floor} end
local records = {}
for at, sample in ipairs(found) do
  local time = sample[1]
  local place = backwards and #found - at + 1 or at
  records[place] = struct.pack('>I4I4d', 2147483648 + math.floor(time / 4294967296), time % 4294967296,
    tonumber(sample[2].ok))
end
return {#found < limit and 1 or 0, floor, '\1' .. table.concat(records)}
