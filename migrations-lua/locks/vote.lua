-- Take a lease on one of several lock nodes, if the lock is free there and the node may vote.
-- KEYS[1] lease  KEYS[2] fence  KEYS[3] ahead  KEYS[4] holder: see acquire.lua
-- KEYS[5] record  string "<run id>:<ms>": the last known run of the server, and the time from which it may vote
-- ARGV[1] now     ARGV[2] TTL of the fence: see fence.lua
-- ARGV[3] token   ARGV[4] ttl, ms     ARGV[5] owner, may be empty     ARGV[6] metadata, may be empty
-- ARGV[7] quarantine, ms: how long a server that may have forgotten its votes does not vote
-- ARGV[8] 1 if the server loses nothing when it restarts, else 0
-- ARGV[9] empty for a new grant; the grant's fencing token to restore a lease that this node lost
-- Returns {1, fence} voted; {0, remaining_ms} held, -1 if the lease never expires; {2, remaining_ms} in quarantine;
--         {3, fence} a later grant was made here, so the lease is not restored.   O(1)
assert(#KEYS == 5 and #ARGV == 9, "vote: 5 keys, 9 arguments")
local holder, record = KEYS[4], KEYS[5]
local ttl, quarantine = tonumber(ARGV[4]), tonumber(ARGV[7])
assert(ttl and ttl > 0 and quarantine, "vote: numbers")

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known, from = string.match(redis.call('GET', record) or '', '^(%x+):(%d+)$')
if known ~= run then
  -- Without a record, the data and the votes are lost. With one, a restart may have lost the latest votes.
  if not (known and ARGV[8] == '1') then from = text(now + quarantine) end
  redis.call('SET', record, run .. ':' .. from)
end
if tonumber(from) > now then return {2, tonumber(from) - now} end
if redis.call('EXISTS', lease) == 1 then return {0, redis.call('PTTL', lease)} end
local token = next_token()
if ARGV[9] ~= '' then
  token = tonumber(ARGV[9])
  local highest = highest_token()
  if highest > token then return {3, highest} end
end
redis.call('SET', lease, ARGV[3], 'PX', ttl)
redis.call('SET', fence, text(token), 'PX', fence_ms)
redis.call('DEL', holder)
redis.call('HSET', holder, 'token', ARGV[3], 'fence', text(token), 'acquired_at', text(now),
  'owner', ARGV[5], 'metadata', ARGV[6])
redis.call('PEXPIRE', holder, ttl)
return {1, token}
