-- Read what the rollups of one series hold that the module keeps.
-- KEYS[1] series hash   KEYS[2] samples, the module's      (both share a hash tag)
-- Returns what rollup_state.lua returns.   O(1)
assert(#KEYS == 2 and #ARGV == 0, 'module_rollup_state: 2 keys, no arguments')
local state = redis.call('HMGET', KEYS[1], 'rollups', 'revision', 'rolled', 'unrolled', 'rolled_from', 'trimmed', 'retention_ms')
if not state[7] then
  if redis.call('EXISTS', unpack(KEYS)) > 0 then return redis.error_reply('WRONGTYPE no series of ours') end
  return {-1}
end
if not state[1] then return {0} end
return {state[1], tonumber(state[2]), tonumber(state[3]), state[4] or '', tonumber(state[5] or 0), tonumber(state[6] or 0),
  tonumber(state[7]), redis.call('TS.GET', KEYS[2])[1] or -1}
