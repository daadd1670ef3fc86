-- Record the progress or the end of a run, if its runner still has the turn.
-- KEYS[1] turn   integer, Unix ms         KEYS[2] state  hash        KEYS[3] runs  list of ended runs
-- ARGV[1] held     integer: the turn of the runner
-- ARGV[2] now      integer, Unix ms; empty: use the clock of Redis
-- ARGV[3] ended    the run as JSON if it has ended, which gives the turn back; '-': only give it back; else empty
-- ARGV[4] history  integer: the most ended runs that are kept     ARGV[5] life  integer, ms, of state and runs
-- ARGV[6..]        field, value of the state, repeatedly; an empty value deletes the field
-- Returns the new turn, 0 if it was given back, or -1 if another runner has it: then nothing was changed.   O(1)
assert(#KEYS == 3 and #ARGV >= 5 and #ARGV % 2 == 1, 'record: 3 keys, 5 arguments and pairs')
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
for at = 6, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[at])
  else
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], string.format('%.0f', now))
  return now
end
if ARGV[3] ~= '-' then
  redis.call('LPUSH', KEYS[3], ARGV[3])
  redis.call('LTRIM', KEYS[3], 0, ARGV[4] - 1)
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
redis.call('DEL', KEYS[1])
return 0
