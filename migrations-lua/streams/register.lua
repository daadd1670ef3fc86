-- Add a stream to the list of streams, unless the list is full. Streams that have ended leave it.
-- KEYS[1] index   sorted set: stream -> when it was last registered, Unix milliseconds
-- ARGV[1] stream  ARGV[2] limit  integer, streams   ARGV[3] life  integer, milliseconds   ARGV[4] now  as in append.lua
-- Returns 1 if the stream is listed, else 0.   O(log n)
assert(#KEYS == 1 and #ARGV == 4, 'register: 1 key, 4 arguments')
local life, now = tonumber(ARGV[3]), tonumber(ARGV[4])
assert(life and tonumber(ARGV[2]), 'register: limit and life are integers')
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local oldest = string.format('%.0f', now - life)
local since = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '')
local is_listed = since and since > now - life
if not is_listed and redis.call('ZCOUNT', KEYS[1], '(' .. oldest, '+inf') >= tonumber(ARGV[2]) then return 0 end
-- A full Redis refuses this write, and would permit it behind a removal.
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', oldest)
redis.call('PEXPIRE', KEYS[1], life)
return 1
