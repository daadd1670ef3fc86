-- Release a lease and a queue entry if they belong to the client, and start the turn of the first waiter.
-- KEYS[1] lease  KEYS[2] holder  KEYS[3] queue  KEYS[4] turn: see acquire.lua
-- ARGV[1] token           ARGV[2] ticket to remove from the queue, may be empty
-- ARGV[3] now, Unix ms, or empty for Redis's own clock
-- ARGV[4] length of a turn, ms                   ARGV[5] channel that announces turns
-- Returns {1, ends_us} released, with the end under which the index lists the lease, or empty; {0, ''} it was free;
--         {2, ''} another token holds it.   O(log waiters)
assert(#KEYS == 4 and #ARGV == 5, "release: 4 keys, 5 arguments")
local lease, holder, queue, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local turn_ms = tonumber(ARGV[4])
assert(turn_ms, "release: numbers")
local held = redis.call('GET', lease)
local answer = {0, ''}
if held == ARGV[1] then
  answer = {1, redis.call('HGET', holder, 'ends_us') or ''}
  redis.call('DEL', lease, holder)
  held = false
elseif held then
  answer = {2, ''}
end
if ARGV[2] ~= '' then redis.call('ZREM', queue, ARGV[2]) end
if held then return answer end
local head = redis.call('ZRANGE', queue, 0, 0)[1]
if head then
  local now
  if ARGV[3] == '' then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  else
    now = tonumber(ARGV[3])
  end
  if string.match(redis.call('GET', turn) or '', '^%d+:(.*)$') ~= head then
    redis.call('SET', turn, string.format('%.0f:%s', now + turn_ms, head), 'PX', turn_ms * 20)
  end
  redis.call('PUBLISH', ARGV[5], 'turn ' .. head .. ' ' .. lease)
end
return answer
