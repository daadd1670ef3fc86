-- Remove clients that leave a channel or whose time has passed, and add those that are subscribed.
-- KEYS[1] members   sorted set: client -> when it expires, Unix milliseconds
-- KEYS[2] info      hash: client -> subject           KEYS[3] subjects  hash: subject -> number of its clients
-- ARGV[1] now       Unix milliseconds; empty: Redis's time
-- ARGV[2] ttl       integer, milliseconds after which a client is removed unless it is added again
-- ARGV[3] leaving   integer, the number of clients that leave; they follow from ARGV[4]
-- ARGV[4 + leaving] client, subject, client, subject, ...: those that are subscribed
-- Returns {clients, subjects, {client, subject, ...} that were added, {client, subject, ...} that were removed}.
-- O(log n) for each client; removes at most 1,000 whose time has passed
assert(#KEYS == 3 and #ARGV >= 3, 'presence: 3 keys, at least 3 arguments')
local ttl, leaving = tonumber(ARGV[2]), tonumber(ARGV[3])
assert(ttl and leaving, 'presence: ttl and leaving are integers')
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local added, removed = {}, {}
local function remove(client)
  if redis.call('ZREM', KEYS[1], client) == 1 then
    local subject = redis.call('HGET', KEYS[2], client) or ''
    redis.call('HDEL', KEYS[2], client)
    if redis.call('HINCRBY', KEYS[3], subject, -1) <= 0 then
      redis.call('HDEL', KEYS[3], subject)
    end
    removed[#removed + 1] = client
    removed[#removed + 1] = subject
  end
end
for _, client in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  remove(client)
end
for at = 4, 3 + leaving do
  remove(ARGV[at])
end
for at = 4 + leaving, #ARGV, 2 do
  local client, subject = ARGV[at], ARGV[at + 1]
  if redis.call('ZADD', KEYS[1], now + ttl, client) == 1 then
    redis.call('HSET', KEYS[2], client, subject)
    redis.call('HINCRBY', KEYS[3], subject, 1)
    added[#added + 1] = client
    added[#added + 1] = subject
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ttl)
end
return { redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf'), redis.call('HLEN', KEYS[3]), added, removed }
