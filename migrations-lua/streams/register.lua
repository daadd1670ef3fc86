-- Add a stream to the list of streams, unless the list is full, or half of it belongs to the client that creates the stream.
-- Streams that have ended leave it.
-- KEYS[1] index   sorted set: stream -> when it was last registered, Unix milliseconds
-- KEYS[2] owners  sorted set: stream -> who created it, as a number; streams of clients that are not told apart are not in it
-- ARGV[1] stream  ARGV[2] limit  integer, streams   ARGV[3] life  integer, milliseconds   ARGV[4] now  as in append.lua
-- ARGV[5] owner   integer of the client, or empty: it is not told apart
-- Returns 0 if the list is full, -1 if the client's half of it is, 1 if the stream was listed before, or the time, greater than 1,
--   at which it is listed now. No two calls list a stream at the same time.
-- O(log n), and O(e * log n) for e streams that have ended
assert(#KEYS == 2 and #ARGV == 5, 'register: 2 keys, 5 arguments')
local index, owners, stream, owner = KEYS[1], KEYS[2], ARGV[1], ARGV[5]
local limit, life, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
assert(life and limit, 'register: limit and life are integers')
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local oldest = string.format('%.0f', now - life)
local since = tonumber(redis.call('ZSCORE', index, stream) or '')
local is_listed = since and since > now - life
local ended = redis.call('ZRANGEBYSCORE', index, '-inf', oldest)
if not is_listed then
  if redis.call('ZCOUNT', index, '(' .. oldest, '+inf') >= limit then return 0 end
  if owner ~= '' then
    local owned = redis.call('ZCOUNT', owners, owner, owner)
    for _, name in ipairs(ended) do
      if tonumber(redis.call('ZSCORE', owners, name) or '') == tonumber(owner) then owned = owned - 1 end
    end
    if owned >= math.ceil(limit / 2) then return -1 end
  end
end
now = math.max(now, (since or 0) + 1)
-- A full Redis refuses this write, and would permit it behind a removal.
redis.call('ZADD', index, string.format('%.0f', now), stream)
for _, name in ipairs(ended) do
  if name ~= stream then redis.call('ZREM', index, name) end
  redis.call('ZREM', owners, name)
end
if not is_listed then
  -- Another client may have created a stream of this name before.
  redis.call('ZREM', owners, stream)
  if owner ~= '' then redis.call('ZADD', owners, owner, stream) end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, life) end
return is_listed and 1 or now
