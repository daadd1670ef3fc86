-- Take a record for one attempt, or say what an earlier attempt left in it.
-- KEYS[1] record  hash: {owner} while an attempt runs; {request, body, status, headers[, answer]} once it succeeded
-- ARGV[1] owner   string, names this attempt     ARGV[2] lease  integer, milliseconds, > 0
-- Returns {0, 0, {}} when taken, {1, remaining_ms, {}} while another attempt runs, {2, 0, fields} when one succeeded,
-- fields in the order above; without `answer` where the answer was too large to keep.   O(1)
assert(#KEYS == 1 and #ARGV == 2, "claim: 1 key, 2 arguments")
local kept = redis.call('HMGET', KEYS[1], 'request', 'body', 'status', 'headers', 'answer')
if kept[3] then
  local fields = {kept[1], kept[2], kept[3], kept[4]}
  if kept[5] then fields[5] = kept[5] end
  return {2, 0, fields}
end
if redis.call('HSETNX', KEYS[1], 'owner', ARGV[1]) == 0 then
  return {1, math.max(redis.call('PTTL', KEYS[1]), 0), {}}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {0, 0, {}}
