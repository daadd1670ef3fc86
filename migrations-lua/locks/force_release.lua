-- Free a lock regardless of its holder, raise its fence above that holder, and start the turn of the first waiter.
-- KEYS[1] lease  KEYS[2] fence  KEYS[3] ahead  KEYS[4] holder  KEYS[5] queue  KEYS[6] turn: see acquire.lua
-- ARGV[1] now     ARGV[2] TTL of the fence: see fence.lua
-- ARGV[3] length of a turn, ms                                ARGV[4] channel that announces turns
-- Returns {held, fence, owner, ends_us}: 1 if the lock was held, the raised fence, the former holder's name or empty,
-- the end under which the index lists the lease or empty.   O(log waiters)
assert(#KEYS == 6 and #ARGV == 4, "force_release: 6 keys, 4 arguments")
local holder, queue, turn = KEYS[4], KEYS[5], KEYS[6]
local turn_ms = tonumber(ARGV[3])
assert(turn_ms, "force_release: numbers")
local held = redis.call('GET', lease)
local known = redis.call('HMGET', holder, 'token', 'owner', 'ends_us')
if not held or known[1] ~= held then known = {} end
local raised = text(next_token())
-- The deletion first: a full Redis permits the other writes behind it.
redis.call('DEL', lease, holder)
redis.call('SET', fence, raised, 'PX', fence_ms)
local head = redis.call('ZRANGE', queue, 0, 0)[1]
if head then
  redis.call('SET', turn, string.format('%.0f:%s', now + turn_ms, head), 'PX', turn_ms * 20)
  redis.call('PUBLISH', ARGV[4], 'turn ' .. head .. ' ' .. lease)
end
return {held and 1 or 0, raised, known[2] or '', known[3] or ''}
