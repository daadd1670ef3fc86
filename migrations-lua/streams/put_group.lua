-- Create a group, or change its settings.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[4] start    'first', 'now', or integer, the version of the first event that is delivered; only for a new group
-- ARGV[5] timeout  integer, milliseconds   ARGV[6] most  integer, deliveries   ARGV[7] limit  integer, groups of the stream
-- Returns {'created' | 'updated' | 'full' | 'no-stream'}.   O(1)
assert(#KEYS == 7 and #ARGV == 7, 'put_group: 7 keys, 7 arguments')
assert(tonumber(ARGV[5]) and tonumber(ARGV[6]) and tonumber(ARGV[7]), 'put_group: timeout, most and limit are integers')
local status = 'updated'
if not group then
  if redis.call('HLEN', KEYS[3]) >= ARGV[7] * #FIELDS and redis.call('HEXISTS', KEYS[3], field('used')) == 0 then
    return { 'full' }
  end
  local start = tonumber(ARGV[4])
  if ARGV[4] == 'now' then start = version + 1 end
  redis.call('DEL', KEYS[4], KEYS[5], KEYS[6], KEYS[7])
  status = 'created'
  group = { cursor = math.min((start or 1) - 1, version), delivery = 0, lost = 0, created = now }
end
group.timeout, group.most = tonumber(ARGV[5]), tonumber(ARGV[6])
save()
return { status }
