-- Store a value with its TTL and its stale copy if the conditions hold, and release the lease.
-- KEYS[1] value   KEYS[2] lease   KEYS[3] stale copy
-- ARGV[1] bytes     the stored bytes
-- ARGV[2] ttl       integer, milliseconds; 0: no expiry
-- ARGV[3] keep      1: keep the remaining TTL of the existing value; else 0
-- ARGV[4] stale     integer, milliseconds that the copy is kept longer than the value; 0: no copy
-- ARGV[5] expected  empty: any state; 'absent': no value; otherwise the SHA-1 (hex) of the stored bytes
-- ARGV[6] lease     the token that the lease must have; empty: no lease is required
-- ARGV[7] age       integer, microseconds since a tag of the value was invalidated, which must have been before the lease was
--                   granted: nodes of a cluster agree about ages, not about times; empty: not to be compared
-- Returns {'created' | 'replaced', remaining TTL in ms or -1}, {'changed', 0} or {'lease-lost', 0}.   O(1)
assert(#KEYS == 3 and #ARGV == 7, 'put: 3 keys, 7 arguments')
local ttl, stale = tonumber(ARGV[2]), tonumber(ARGV[4])
assert(ttl and stale, 'put: ttl and stale are integers')
if ARGV[6] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[6] then
  return { 'lease-lost', 0 }
end
if ARGV[7] ~= '' then
  local time = redis.call('TIME')
  if time[1] * 1000000 + time[2] - tonumber(string.sub(ARGV[6], 1, 14), 16) >= tonumber(ARGV[7]) then
    return { 'lease-lost', 0 }
  end
end
-- STRLEN fails for other types, so the script never overwrites a hash or list of another program.
local exists = redis.call('STRLEN', KEYS[1]) > 0 or redis.call('EXISTS', KEYS[1]) == 1
if ARGV[5] == 'absent' then
  if exists then
    return { 'changed', 0 }
  end
elseif ARGV[5] ~= '' then
  local current = redis.call('GET', KEYS[1])
  if not current or redis.sha1hex(current) ~= ARGV[5] then
    return { 'changed', 0 }
  end
end
local left = ttl > 0 and ttl or -1
if exists and ARGV[3] == '1' then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  left = redis.call('PTTL', KEYS[1])
elseif ttl > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
if stale > 0 and left > 0 then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', left + stale)
  redis.call('DEL', KEYS[2])
else
  redis.call('UNLINK', KEYS[2], KEYS[3])
end
return { exists and 'replaced' or 'created', left }
