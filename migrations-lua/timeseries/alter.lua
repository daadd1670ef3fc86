-- Change parts of the definition of a series.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples   KEYS[3] chunks sorted set   KEYS[4] blocks hash
--         (all share a hash tag)
-- ARGV[1] retention_ms  integer, 0 keeps all samples   ARGV[2] duplicate_policy   ARGV[3] labels, JSON with sorted keys;
--         an empty argument leaves its part unchanged
-- ARGV[4] min_life      integer, milliseconds: the series outlives its last write by at least this
-- ARGV[5] layout        'native' or 'module'   ARGV[6] now  integer, Unix milliseconds; empty: Redis's own clock
-- Returns 1, or 0 when the series does not exist.   O(1)
assert(#KEYS == 4 and #ARGV == 6, 'alter: 4 keys, 6 arguments')
local in_module = ARGV[5] == 'module'
if redis.call('HEXISTS', KEYS[1], 'retention_ms') == 0 then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return 0
end
local retention, rolled, unrolled, outlive, untrimmed =
  unpack(redis.call('HMGET', KEYS[1], 'retention_ms', 'rolled', 'unrolled', 'outlive', 'untrimmed_from'))
for at, field in ipairs({'retention_ms', 'duplicate_policy', 'labels'}) do
  if ARGV[at] ~= '' then redis.call('HSET', KEYS[1], field, ARGV[at]) end
end
-- Until the index has the new labels, every write reports that the series is not listed.
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[1], 'listed') end
if in_module and ARGV[2] ~= '' then redis.call('TS.ALTER', KEYS[2], 'DUPLICATE_POLICY', ARGV[2]) end
if ARGV[1] ~= '' then
  -- Writes trim the samples, not the module.
  if in_module and redis.call('HSETNX', KEYS[1], 'trims', 1) == 1 then redis.call('TS.ALTER', KEYS[2], 'RETENTION', 0) end
  local newest
  if in_module then
    newest = redis.call('TS.GET', KEYS[2])[1]
  else
    local tail = redis.call('GETRANGE', KEYS[2], -16, -9)
    if #tail == 8 then
      local high, low = struct.unpack('>I4I4', tail)
      newest = (high - 2147483648) * 4294967296 + low
    end
  end
  local function clock()
    if ARGV[6] ~= '' then return tonumber(ARGV[6]) end
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local now = clock()
  newest = newest or now
  -- Samples that the previous retention hides may have been trimmed before writes noted that.
  if not untrimmed and tonumber(retention) > 0 then
    untrimmed = string.format('%.0f', math.max(math.min(newest, now) - tonumber(retention), 0))
    redis.call('HSET', KEYS[1], 'untrimmed_from', untrimmed)
  end
  if tonumber(rolled or 0) > 0 then
    -- Other samples are visible now, so rollups are filled again; where samples were trimmed, their buckets stay.
    local from = math.min(tonumber(untrimmed or 0), tonumber(rolled) - 1)
    for start in unrolled:gmatch('(%d+):') do from = math.min(from, tonumber(start)) end
    redis.call('HSET', KEYS[1], 'unrolled', string.format('%.0f:%.0f,', from, rolled - 1))
    redis.call('HDEL', KEYS[1], 'trimmed', 'rolled_from', 'needed_from')
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
  end
  local ttl = math.max(tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(outlive or 0)) + math.max(newest - now, 0)
  for _, key in ipairs(KEYS) do
    if ARGV[1] == '0' then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(ttl * 17 / 16)))
    end
  end
end
return 1
