-- Publish a host's newest sample, unless a newer one is published already.
-- KEYS[1] current   string, JSON: {metrics: {timestamp, seq, ...}, agent}
-- ARGV[1] timestamp integer, Unix ms      ARGV[2] seq  integer
-- ARGV[3] document  string, JSON          ARGV[4] ttl  integer, ms, > 0
-- Returns 1 if it was written, else 0.   O(1)
assert(#KEYS == 1 and #ARGV == 4, 'publish: 1 key, 4 arguments')
local timestamp, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
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
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
