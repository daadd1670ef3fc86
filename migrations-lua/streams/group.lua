-- The state of one group of consumers, with which every script about a group begins.
-- KEYS[1] meta   KEYS[2] log   (see append.lua)
-- KEYS[3] groups  hash of <group>|<field>: cursor the last version that was delivered, low the lowest version that is not
--   acknowledged, timeout ms until an event is delivered again, most deliveries, delivery the number of the last delivery,
--   pending and dead the numbers of such events, lost those that were trimmed too early, created and used Unix milliseconds
-- KEYS[4] due     sorted set: the version of a delivered event in 16 digits -> when it may be delivered again
-- KEYS[5] held    sorted set: the same versions, in their order
-- KEYS[6] info    hash: version -> '<delivery> <deliveries> <consumer>'; the receipt contains the delivery
-- KEYS[7] dead    sorted set: '<version> <deliveries> <time> <consumer>' -> version
-- ARGV[1] group   ARGV[2] now  Unix milliseconds; empty: Redis's time
-- ARGV[3] idle    integer, milliseconds after which an unused group does not exist any more
-- Returns what the script returns that follows; its first element is 'no-stream' or 'no-group' if there is none.   O(log)
assert(#KEYS == 7 and #ARGV >= 3, 'group: 7 keys, at least 3 arguments')
local now, idle = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(idle, 'group: idle is an integer')
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local FIELDS = { 'cursor', 'timeout', 'most', 'delivery', 'lost', 'created', 'used', 'pending', 'dead', 'low' }
local function text(number)
  return string.format('%.0f', number)
end
local function padded(own)
  return string.format('%016.0f', own)
end
local function field(name)
  return ARGV[1] .. '|' .. name
end
local version = tonumber(redis.call('HGET', KEYS[1], 'v'))
local stored = {}
for at, name in ipairs(FIELDS) do
  stored[at] = field(name)
end
local group, values = {}, redis.call('HMGET', KEYS[3], unpack(stored))
for at, name in ipairs(FIELDS) do
  group[name] = tonumber(values[at])
end
if not group.used or group.used < now - idle then group = nil end
-- Stores the state; the keys of the group live as long as it is used.
local function save()
  local lowest = redis.call('ZRANGE', KEYS[5], 0, 0)[1]
  group.low = lowest and tonumber(lowest) or group.cursor + 1
  group.pending, group.dead, group.used = redis.call('ZCARD', KEYS[4]), redis.call('ZCARD', KEYS[7]), now
  local pairs_of_fields = {}
  for _, name in ipairs(FIELDS) do
    pairs_of_fields[#pairs_of_fields + 1] = field(name)
    pairs_of_fields[#pairs_of_fields + 1] = text(group[name])
  end
  redis.call('HSET', KEYS[3], unpack(pairs_of_fields))
  -- Groups end with their stream: one of the same name begins with version 1, which their cursor has passed.
  redis.call('PEXPIRE', KEYS[3], redis.call('PTTL', KEYS[1]))
  for at = 4, 7 do
    redis.call('PEXPIRE', KEYS[at], idle)
  end
end
local function forget(own)
  redis.call('ZREM', KEYS[4], padded(own))
  redis.call('ZREM', KEYS[5], own)
  redis.call('HDEL', KEYS[6], own)
end
local function hold(own, due, info)
  redis.call('ZADD', KEYS[4], text(due), padded(own))
  redis.call('ZADD', KEYS[5], own, own)
  redis.call('HSET', KEYS[6], own, info)
end
if not version then return { 'no-stream' } end
