-- Append trades to the tape of a symbol, all or none, except those that it already has.
-- KEYS[1] tape      stream, one trade an entry
-- KEYS[2], KEYS[3] ids  hashes, trade id -> '<entry id> <fingerprint>', and '' -> Unix ms when the hash was begun. The later
--   one is in use, the other one has the ids before
-- KEYS[4] index     sorted set, the minutes of the window
-- ARGV[1] now       integer, Unix milliseconds; empty: Redis's own clock
-- ARGV[2] limit     integer, the most entries of the tape      ARGV[3] ids_limit  integer, ids after which the hash is replaced
-- ARGV[4] ids_age   integer, ms after which it is replaced; the hashes are kept twice as long after their last id
-- ARGV[5] life      integer, ms that the tape is kept after its last trade
-- ARGV[6] most      integer, the minutes of the window at which no new trade is accepted; empty: any number
-- ARGV[7 ..]        ten for each trade: id, fingerprint, timestamp (Unix ms; empty: now), price, quantity, side, buyer, seller,
--   buy order, sell order; the ids of one call are all different
-- Returns {'appended', entry id and 0, or 1 if it was there, of each trade}; or, if nothing was changed,
--   {'reused', index from 0 of the first trade whose id another trade has}, {'full'}, or {'behind'}.   O(trades)
assert(#KEYS == 4 and #ARGV >= 16 and (#ARGV - 6) % 10 == 0, 'append: 4 keys, 6 arguments and 10 for each trade')
local now, limit, ids_limit, ids_age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
assert(limit and ids_limit and ids_age and tonumber(ARGV[5]), 'append: limits and lives are integers')
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local known, missing = {}, 0
for at = 7, #ARGV, 10 do
  local found = redis.call('HGET', KEYS[2], ARGV[at]) or redis.call('HGET', KEYS[3], ARGV[at])
  if found then
    local entry, fingerprint = string.match(found, '^(%S+) (%S+)$')
    if fingerprint ~= ARGV[at + 1] then return { 'reused', (at - 7) / 10 } end
    known[at] = entry
  else
    missing = missing + 1
  end
end
local ids = KEYS[2]
if missing > 0 then
  if redis.call('XLEN', KEYS[1]) + missing > limit then return { 'full' } end
  local most = tonumber(ARGV[6])
  if most and redis.call('ZCARD', KEYS[4]) >= most then return { 'behind' } end
  local begun, other = tonumber(redis.call('HGET', KEYS[2], '') or ''), tonumber(redis.call('HGET', KEYS[3], '') or '')
  local old = KEYS[3]
  if (other or 0) > (begun or 0) then
    ids, old, begun = KEYS[3], KEYS[2], other
  end
  local is_over = begun and (now - begun >= ids_age or redis.call('HLEN', ids) > ids_limit)
  if is_over then
    redis.call('UNLINK', old)
    ids = old
  end
  -- Later than the other one, even if the clock was set back.
  if is_over or not begun then redis.call('HSET', ids, '', string.format('%.0f', math.max(now, (begun or 0) + 1))) end
end
local reply = { 'appended' }
for at = 7, #ARGV, 10 do
  local entry = known[at]
  if not entry then
    local timestamp = ARGV[at + 2] ~= '' and ARGV[at + 2] or string.format('%.0f', now)
    entry = redis.call('XADD', KEYS[1], '*', 'id', ARGV[at], 't', timestamp, 'p', ARGV[at + 3], 'q', ARGV[at + 4],
      'side', ARGV[at + 5], 'buyer', ARGV[at + 6], 'seller', ARGV[at + 7], 'bo', ARGV[at + 8], 'so', ARGV[at + 9])
    redis.call('HSET', ids, ARGV[at], entry .. ' ' .. ARGV[at + 1])
  end
  reply[#reply + 1] = entry
  reply[#reply + 1] = known[at] and 1 or 0
end
if missing > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('PEXPIRE', ids, 2 * ids_age)
end
return reply
