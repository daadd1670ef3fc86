-- Claim a record for one attempt, or return the state of an earlier attempt.
-- KEYS[1] record  hash: {owner} while an attempt runs; {request, body, status, headers[, answer]} after success
-- ARGV[1] owner   string, identifies this attempt     ARGV[2] lease  integer, milliseconds, > 0
-- ARGV[3] frees   '1' if the attempt may free memory, so that a full Redis must permit the claim; else '0'
-- ARGV[4] answer  string; absent, or the recorded response body that the claim may replace
-- Returns {0, 0, {}} if claimed, {3, 0, {}} if claimed in a full Redis, {1, remaining_ms, {}} while another attempt runs,
-- {2, remaining_ms, fields} if one succeeded, with the fields in the order above; `answer` is absent if the response body was
-- not kept.   O(1)
assert(#KEYS == 1 and (#ARGV == 3 or #ARGV == 4), "claim: 1 key, 3 or 4 arguments")
local kept, status = redis.call('HMGET', KEYS[1], 'request', 'body', 'status', 'headers', 'answer'), 0
if kept[3] and ARGV[4] and kept[5] == ARGV[4] then
  redis.call('DEL', KEYS[1])
elseif kept[3] then
  local fields = {kept[1], kept[2], kept[3], kept[4]}
  if kept[5] then fields[5] = kept[5] end
  return {2, math.max(redis.call('PTTL', KEYS[1]), 0), fields}
end
local claimed = redis.pcall('HSETNX', KEYS[1], 'owner', ARGV[1])
if type(claimed) == 'table' then
  if ARGV[3] ~= '1' or string.sub(claimed.err, 1, 3) ~= 'OOM' then return claimed end
  -- A full Redis permits writes behind a deletion, even of a field that does not exist.
  redis.call('HDEL', KEYS[1], '')
  claimed, status = redis.call('HSETNX', KEYS[1], 'owner', ARGV[1]), 3
end
if claimed == 0 then
  return {1, math.max(redis.call('PTTL', KEYS[1]), 0), {}}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {status, 0, {}}
