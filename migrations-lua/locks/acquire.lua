-- Take a lease if nobody holds it and nobody waits in front; else, if asked to, join or keep a place in the queue.
-- KEYS[1] lease   string, the owner's token and nothing else; lives as long as the lease
-- KEYS[2] fence   integer text, the highest fencing token handed out
-- KEYS[3] holder  hash {token, fence, acquired_at, ends_us, owner, metadata}; lives as long as the lease
-- KEYS[4] queue   sorted set of tickets "<deadline ms>:<name>", by arrival in microseconds
-- KEYS[5] turn    string "<until ms>:<ticket>": whose turn it is while the lease is free
-- ARGV[1] token        ARGV[2] ttl, ms            ARGV[3] now, Unix ms, or empty for Redis's own clock
-- ARGV[4] life of the fence, ms                   ARGV[5] owner, may be empty    ARGV[6] metadata, may be empty
-- ARGV[7] ticket: empty does not wait; a name joins the queue; a whole ticket keeps its place
-- ARGV[8] arrival of a whole ticket, microseconds; 0 with a name
-- ARGV[9] wait, ms, from now                      ARGV[10] the most tickets that a queue may have
-- ARGV[11] length of a turn, ms                   ARGV[12] channel that announces turns and grants
-- Returns {1, fence, ends_us} granted
--         {0, remaining_ms} held, or kept for who waits in front; -1 when the lease has no end
--         {2, remaining_ms, ticket, arrival} waiting            {3, length} the queue is full
-- O(log waiters), and O(log waiters) more for each ticket at the head whose caller is gone.
assert(#KEYS == 5 and #ARGV == 12, "acquire: 5 keys, 12 arguments")
local lease, fence, holder, queue, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ttl, wait, longest = tonumber(ARGV[2]), tonumber(ARGV[9]), tonumber(ARGV[10])
local turn_ms, arrival = tonumber(ARGV[11]), tonumber(ARGV[8])
local fence_ms = tonumber(ARGV[4])
assert(ttl and ttl > 0 and wait and longest and turn_ms and arrival and fence_ms, "acquire: numbers")
local now_us
if ARGV[3] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[3] * 1000
end
local now = math.floor(now_us / 1000)
local ticket = ARGV[7]

-- The place of a caller who may wait: a new one at the end, or the one that it already has.
local function keep_place(remaining)
  if ticket == '' then return {0, remaining} end
  if arrival == 0 then
    local length = redis.call('ZCARD', queue)
    if length >= longest then return {3, length} end
    local last = redis.call('ZREVRANGE', queue, 0, 0, 'WITHSCORES')[2]
    arrival = math.max(now_us, (tonumber(last) or 0) + 1)
    ticket = string.format('%.0f:%s', now + wait, ticket)
  end
  -- A ticket that missed its turn was taken out; its caller lives after all and comes back to its old place.
  redis.call('ZADD', queue, arrival, ticket)
  if redis.call('PTTL', queue) < wait then redis.call('PEXPIRE', queue, wait + 1000) end
  return {2, remaining, ticket, arrival}
end

if redis.call('EXISTS', lease) == 1 then
  return keep_place(redis.call('PTTL', lease))
end

local head = redis.call('ZRANGE', queue, 0, 0)[1]
while head and head ~= ticket do
  local ends, whose = string.match(redis.call('GET', turn) or '', '^(%d+):(.*)$')
  local is_gone = tonumber(string.match(head, '^%d+')) <= now
  local missed_its_turn = whose == head and tonumber(ends) <= now
  if is_gone or missed_its_turn then
    redis.call('ZREM', queue, head)
    head = redis.call('ZRANGE', queue, 0, 0)[1]
  elseif whose == head then
    return keep_place(tonumber(ends) - now)
  else
    redis.call('SET', turn, string.format('%.0f:%s', now + turn_ms, head), 'PX', turn_ms * 20)
    redis.call('PUBLISH', ARGV[12], 'turn ' .. head .. ' ' .. lease)
    return keep_place(turn_ms)
  end
end

local token = math.max((tonumber(redis.call('GET', fence) or '0') or 0) + 1, now_us)
local text = string.format('%.0f', token)
redis.call('SET', lease, ARGV[1], 'PX', ttl)
redis.call('SET', fence, text, 'PX', fence_ms)
redis.call('DEL', holder)
local ends_us = string.format('%.0f', now_us + ttl * 1000)
redis.call('HSET', holder, 'token', ARGV[1], 'fence', text, 'acquired_at', string.format('%.0f', now),
  'ends_us', ends_us, 'owner', ARGV[5], 'metadata', ARGV[6])
redis.call('PEXPIRE', holder, ttl)
if head then
  redis.call('ZREM', queue, head)
  redis.call('DEL', turn)
  -- Other replicas need not look before this lease can end.
  if redis.call('EXISTS', queue) == 1 then redis.call('PUBLISH', ARGV[12], 'held ' .. ttl .. ' ' .. lease) end
end
return {1, text, ends_us}
