-- Read the state of the rollups of a series.
-- KEYS[1] series hash   KEYS[2] head string, or the module's samples      (both share a hash tag)
-- ARGV[1] layout  'native' or 'module'
-- ARGV[2] now     integer, Unix milliseconds; empty: Redis's own clock
-- Returns {-1} when the series does not exist, {0} when it has no rollups, else {rollups, revision, rolled, unrolled,
-- from, trimmed, retention_ms, newest, untrimmed, lost}: the list of rollups, JSON; a number that changes with every
-- filling; the time before which they are filled; the ranges before that time that are not, a list of `from:to,`; the
-- time from which on they are filled; the time up to which samples were trimmed; the retention of the samples; the time
-- from which it counts back: the newest timestamp, unless that is ahead of the clock; -1 when there are no samples;
-- the time from which no sample was ever trimmed, or -1 when it is not known; the time from which samples were trimmed
-- since rollups were filled from them.   O(1)
assert(#KEYS == 2 and #ARGV == 2, 'rollup_state: 2 keys, 2 arguments')
local in_module = ARGV[1] == 'module'
local state = redis.call('HMGET', KEYS[1], 'rollups', 'revision', 'rolled', 'unrolled', 'rolled_from', 'trimmed', 'retention_ms',
  'untrimmed_from', 'lost_from')
if not state[7] then
  if redis.call('EXISTS', unpack(KEYS, 1, in_module and 2 or 1)) > 0 then
    return redis.error_reply('WRONGTYPE the key does not hold a time series of this service')
  end
  return {-1}
end
if not state[1] then return {0} end
local newest
if in_module then
  newest = redis.call('TS.GET', KEYS[2])[1]
else
  local last = redis.call('GETRANGE', KEYS[2], -16, -9)
  if #last == 8 then
    local high, low = struct.unpack('>I4I4', last)
    newest = (high - 2147483648) * 4294967296 + low
  end
end
local function clock()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

return {state[1], tonumber(state[2]), tonumber(state[3]), state[4] or '', tonumber(state[5] or 0), tonumber(state[6] or 0),
  tonumber(state[7]), newest and math.min(newest, clock()) or -1, tonumber(state[8] or -1), tonumber(state[9] or 0)}
