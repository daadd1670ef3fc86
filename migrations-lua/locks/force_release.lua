-- Free a lock regardless of its holder, raise its fence above that holder, and start the turn of the first waiter.
-- KEYS[1] lease  KEYS[2] fence  KEYS[3] holder  KEYS[4] queue  KEYS[5] turn: see acquire.lua
-- ARGV[1] now, Unix ms, or empty for Redis's own clock        ARGV[2] TTL of the fence, ms
-- ARGV[3] length of a turn, ms                                ARGV[4] channel that announces turns
-- Returns {held, fence, owner, ends_us}: 1 if the lock was held, the raised fence, the former holder's name or empty,
-- the end under which the index lists the lease or empty.   O(log waiters)
assert(#KEYS == 5 and #ARGV == 4, "force_release: 5 keys, 4 arguments")
local lease, fence, holder, queue, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local fence_ms, turn_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(fence_ms and turn_ms, "force_release: numbers")
local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local held = redis.call('GET', lease)
local known = redis.call('HMGET', holder, 'token', 'owner', 'ends_us')
if not held or known[1] ~= held then known = {} end
local raised = string.format('%.0f', math.max((tonumber(redis.call('GET', fence) or '0') or 0) + 1, now_us))
redis.call('SET', fence, raised, 'PX', fence_ms)
redis.call('DEL', lease, holder)
local head = redis.call('ZRANGE', queue, 0, 0)[1]
if head then
  local now = math.floor(now_us / 1000)
  redis.call('SET', turn, string.format('%.0f:%s', now + turn_ms, head), 'PX', turn_ms * 20)
  redis.call('PUBLISH', ARGV[4], 'turn ' .. head .. ' ' .. lease)
end
return {held and 1 or 0, raised, known[2] or '', known[3] or ''}
