-- Publish a host's newest sample, unless a newer one is published already.
-- KEYS[1] current   string, JSON: {metrics: {timestamp, seq, ...}, agent}
-- KEYS[2] deleted, ARGV[1] now, ARGV[2] age: see deleted.lua
-- ARGV[3] timestamp integer, Unix ms      ARGV[4] seq  integer
-- ARGV[5] document  string, JSON          ARGV[6] ttl  integer, ms, > 0
-- Returns 1 if it was written, else 0.   O(1)
assert(#KEYS == 2 and #ARGV == 6, 'publish: 2 keys, 6 arguments')
local timestamp, seq = tonumber(ARGV[3]), tonumber(ARGV[4])
local known = redis.call('GET', KEYS[1])
if known then
  -- Any other value is replaced.
  local read, document = pcall(cjson.decode, known)
  local metrics = read and type(document) == 'table' and document.metrics
  if type(metrics) == 'table' and type(metrics.timestamp) == 'number' and type(metrics.seq) == 'number' then
    local newer = metrics.timestamp > timestamp or metrics.timestamp == timestamp and metrics.seq > seq
    if newer then return 0 end
  end
end
redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[6])
return 1
