-- Take a lease if the lock is free and no other waiter is first; otherwise join or stay in the queue, if asked to.
-- KEYS[1] lease   string, the holder's token and nothing else; expires with the lease
-- KEYS[2] fence   integer text, the last fencing token         KEYS[3] ahead   see fence.lua
-- KEYS[4] holder  hash {token, fence, acquired_at, ends_us, owner, metadata}; expires with the lease
-- KEYS[5] queue   sorted set of tickets "<deadline ms>:<name>", by arrival in microseconds
-- KEYS[6] turn    string "<until ms>:<ticket>": the waiter for which the free lock is reserved
-- ARGV[1] now     ARGV[2] TTL of the fence: see fence.lua
-- ARGV[3] token   ARGV[4] ttl, ms                 ARGV[5] owner, may be empty    ARGV[6] metadata, may be empty
-- ARGV[7] ticket: empty does not wait; a name joins the queue; a complete ticket keeps its position
-- ARGV[8] arrival of a complete ticket, microseconds; 0 with a name
-- ARGV[9] wait, ms, from now                      ARGV[10] maximum length of the queue
-- ARGV[11] length of a turn, ms                   ARGV[12] channel that announces turns and grants
-- Returns {1, fence, ends_us} granted
--         {0, remaining_ms} held, or reserved for the first waiter; -1 if the lease never expires
--         {2, remaining_ms, ticket, arrival} waiting            {3, length} the queue is full
-- O(log waiters), plus O(log waiters) for each ticket at the head that has expired or missed its turn.
assert(#KEYS == 6 and #ARGV == 12, "acquire: 6 keys, 12 arguments")
local holder, queue, turn = KEYS[4], KEYS[5], KEYS[6]
local ttl, wait, max_length = tonumber(ARGV[4]), tonumber(ARGV[9]), tonumber(ARGV[10])
local turn_ms, arrival = tonumber(ARGV[11]), tonumber(ARGV[8])
assert(ttl and ttl > 0 and wait and max_length and turn_ms and arrival, "acquire: numbers")
local ticket = ARGV[7]

-- Adds a client that may wait to the end of the queue, or keeps its position.
local function queue_up(remaining)
  if ticket == '' then return {0, remaining} end
  if arrival == 0 then
    local length = redis.call('ZCARD', queue)
    if length >= max_length then return {3, length} end
    local last = redis.call('ZREVRANGE', queue, 0, 0, 'WITHSCORES')[2]
    arrival = math.max(now_us, (tonumber(last) or 0) + 1)
    ticket = text(now + wait) .. ':' .. ticket
  end
  -- If the ticket was removed because it missed its turn, its client returns to its old position.
  redis.call('ZADD', queue, arrival, ticket)
  if redis.call('PTTL', queue) < wait then redis.call('PEXPIRE', queue, wait + 1000) end
  return {2, remaining, ticket, arrival}
end

if redis.call('EXISTS', lease) == 1 then
  return queue_up(redis.call('PTTL', lease))
end

local head = redis.call('ZRANGE', queue, 0, 0)[1]
while head and head ~= ticket do
  local ends, owner_of_turn = string.match(redis.call('GET', turn) or '', '^(%d+):(.*)$')
  local is_expired = tonumber(string.match(head, '^%d+')) <= now
  local missed_its_turn = owner_of_turn == head and tonumber(ends) <= now
  if is_expired or missed_its_turn then
    redis.call('ZREM', queue, head)
    head = redis.call('ZRANGE', queue, 0, 0)[1]
  elseif owner_of_turn == head then
    return queue_up(tonumber(ends) - now)
  else
    redis.call('SET', turn, string.format('%.0f:%s', now + turn_ms, head), 'PX', turn_ms * 20)
    redis.call('PUBLISH', ARGV[12], 'turn ' .. head .. ' ' .. lease)
    return queue_up(turn_ms)
  end
end

local token = text(next_token())
redis.call('SET', lease, ARGV[3], 'PX', ttl)
redis.call('SET', fence, token, 'PX', fence_ms)
redis.call('DEL', holder)
local ends_us = text(now_us + ttl * 1000)
redis.call('HSET', holder, 'token', ARGV[3], 'fence', token, 'acquired_at', text(now),
  'ends_us', ends_us, 'owner', ARGV[5], 'metadata', ARGV[6])
redis.call('PEXPIRE', holder, ttl)
if head then
  redis.call('ZREM', queue, head)
  redis.call('DEL', turn)
  -- Other replicas need not ask before this lease may have ended.
  if redis.call('EXISTS', queue) == 1 then redis.call('PUBLISH', ARGV[12], 'held ' .. ttl .. ' ' .. lease) end
end
return {1, token, ends_us}
