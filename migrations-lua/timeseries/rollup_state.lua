-- Read what the rollups of one series hold.
-- KEYS[1] series hash   KEYS[2] head string      (both share a hash tag)
-- Returns {-1} when there is no such series, {0} when it has no rollups, else {rollups, revision, rolled, unrolled, from,
-- trimmed, retention_ms, newest}: the list, JSON; a number that every filling changes; the time before which they are
-- filled, but for `unrolled`, a list of `from:to,`; the time from which on they are filled; the time up to which samples
-- were trimmed; the newest timestamp, or -1 when there are no samples.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'rollup_state: 2 keys, no arguments')
local state = redis.call('HMGET', KEYS[1], 'rollups', 'revision', 'rolled', 'unrolled', 'rolled_from', 'trimmed', 'retention_ms')
if not state[7] then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE the hash is no series') end
  return {-1}
end
if not state[1] then return {0} end
local newest, tail = -1, redis.call('GETRANGE', KEYS[2], -16, -9)
if #tail == 8 then
  local high, low = struct.unpack('>I4I4', tail)
  newest = (high - 2147483648) * 4294967296 + low
end
return {state[1], tonumber(state[2]), tonumber(state[3]), state[4] or '', tonumber(state[5] or 0), tonumber(state[6] or 0),
  tonumber(state[7]), newest}
