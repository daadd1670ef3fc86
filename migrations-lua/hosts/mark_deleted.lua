-- Mark a host as deleted, so that no replica stores samples that it accepted before.
-- KEYS[1] deleted  string, integer: when the host was deleted, Unix ms
-- ARGV[1] now      integer, Unix ms; empty: use the clock of Redis
-- ARGV[2] ttl      integer, ms, > 0
-- Returns 1.   O(1)
assert(#KEYS == 1 and #ARGV == 2, 'mark_deleted: 1 key, 2 arguments')
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A full Redis refuses a write that can take memory, unless the script has written before. Deletions must work then.
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[1], string.format('%.0f', now), 'PX', ARGV[2])
return 1
