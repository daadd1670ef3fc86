-- Describe one series that the module keeps.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- Returns {-1} when there is no such series, else what describe.lua returns; no chunk is left for the caller to look at.
-- O(samples that are past retention and not freed yet)
assert(#KEYS == 2 and #ARGV == 0, 'module_describe: 2 keys, no arguments')
local fields = redis.call('HMGET', KEYS[1], 'retention_ms', 'duplicate_policy', 'labels', 'created')
if not fields[1] then
  if redis.call('EXISTS', unpack(KEYS)) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return {-1}
end
local info, told = {}, redis.call('TS.INFO', KEYS[2])
for at = 1, #told, 2 do info[told[at].ok or told[at]] = told[at + 1] end
local reply = {tonumber(fields[1]), fields[2], fields[3], tonumber(fields[4]), info.totalSamples, info.chunkCount,
  info.memoryUsage}
local newest = redis.call('TS.GET', KEYS[2])[1]
if not newest then
  reply[5], reply[6], reply[7] = 0, 0, 0
  return reply
end
local floor = reply[1] > 0 and math.max(newest - reply[1], 0) or 0
reply[8] = redis.call('TS.RANGE', KEYS[2], string.format('%.0f', floor), '+', 'COUNT', 1)[1][1]
reply[9], reply[10] = newest, ''
return reply
