-- Add to a counter. The call that creates the counter also sets its TTL.
-- KEYS[1] counter   KEYS[2] lease   KEYS[3] stale copy   KEYS[4] stored result of this operation
-- ARGV[1] by          integer, -2^63 .. 2^63 - 1
-- ARGV[2] ttl         integer, milliseconds, for a counter that is created; 0: no expiry
-- ARGV[3] answer_ttl  integer, milliseconds that the result is kept for repeated requests; 0: not kept
-- Returns {'done', 'value ttl created'} with the remaining TTL in ms (-1: none) and created as 1 or 0,
--   {'tagged', ''} if the tags must be checked first, or {'not-a-number', ''}.   O(1)
assert(#KEYS == 4 and #ARGV == 3, 'increment: 4 keys, 3 arguments')
local ttl, answer_ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(ttl and answer_ttl, 'increment: ttl and answer_ttl are integers')
if answer_ttl > 0 then
  local answer = redis.call('GET', KEYS[4])
  if answer then
    return { 'done', answer }
  end
end
local head = redis.call('GETRANGE', KEYS[1], 0, 6)
if string.sub(head, 1, 4) == '\0gc\1' and (string.byte(head, 7) or 0) > 0 then
  return { 'tagged', '' }
end
local existed = redis.call('EXISTS', KEYS[1]) == 1
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' then
  if string.find(sum.err, 'not an integer', 1, true) or string.find(sum.err, 'overflow', 1, true) then
    return { 'not-a-number', '' }
  end
  return sum
end
local left = -1
if existed then
  left = redis.call('PTTL', KEYS[1])
elseif ttl > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  left = ttl
end
redis.call('UNLINK', KEYS[2], KEYS[3])
-- Lua's numbers are exact only up to 2^53, so the text is read back.
local answer = redis.call('GET', KEYS[1]) .. ' ' .. string.format('%d', left) .. ' ' .. (existed and '0' or '1')
if answer_ttl > 0 then
  redis.call('SET', KEYS[4], answer, 'PX', ARGV[3])
end
return { 'done', answer }
