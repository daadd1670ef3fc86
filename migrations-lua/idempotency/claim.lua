-- Claim a record for one attempt, or return the state of an earlier attempt.
-- KEYS[1] record  hash: {owner} while an attempt runs; {request, body, status, headers[, answer]} after success
-- ARGV[1] owner   string, identifies this attempt     ARGV[2] lease  integer, milliseconds, > 0
-- ARGV[3] answer  string; absent, or the recorded response body that the claim may replace
-- Returns {0, 0, {}} if claimed, {1, remaining_ms, {}} while another attempt runs, {2, remaining_ms, fields} if one
-- succeeded, with the fields in the order above; `answer` is absent if the response body was too large to keep.   O(1)
assert(#KEYS == 1 and (#ARGV == 2 or #ARGV == 3), "claim: 1 key, 2 or 3 arguments")
local kept = redis.call('HMGET', KEYS[1], 'request', 'body', 'status', 'headers', 'answer')
if kept[3] and ARGV[3] and kept[5] == ARGV[3] then
  redis.call('DEL', KEYS[1])
elseif kept[3] then
  local fields = {kept[1], kept[2], kept[3], kept[4]}
  if kept[5] then fields[5] = kept[5] end
  return {2, math.max(redis.call('PTTL', KEYS[1]), 0), fields}
end
if redis.call('HSETNX', KEYS[1], 'owner', ARGV[1]) == 0 then
  return {1, math.max(redis.call('PTTL', KEYS[1]), 0), {}}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {0, 0, {}}
