-- Read the dead letters of a group.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[4] after  integer, exclusive version; 0: from the first   ARGV[5] limit  integer, letters   ARGV[6] bytes  integer
-- Returns {'read' | 'no-stream' | 'no-group', 1 if more follow or else 0, {'<version> <deliveries> <time> <consumer>', id, type, data, metadata, time of
-- each; five empty texts for an event that was trimmed}}.   O(limit)
assert(#KEYS == 7 and #ARGV == 6, 'dead: 7 keys, 6 arguments')
local bytes = tonumber(ARGV[6])
assert(bytes and tonumber(ARGV[4]) and tonumber(ARGV[5]), 'dead: after, limit and bytes are integers')
if not group then return { 'no-group' } end
local items, size, taken = {}, 0, 0
local letters = redis.call('ZRANGEBYSCORE', KEYS[7], '(' .. ARGV[4], '+inf', 'LIMIT', 0, ARGV[5] + 1)
for _, letter in ipairs(letters) do
  if size >= bytes or taken == tonumber(ARGV[5]) then break end
  taken = taken + 1
  local own = string.match(letter, '^%d+')
  local entry = redis.call('XRANGE', KEYS[2], own .. '-0', own .. '-0')[1]
  items[#items + 1] = letter
  for at = 2, 10, 2 do
    local value = entry and entry[2][at] or ''
    items[#items + 1] = value
    size = size + #value
  end
end
return { 'read', taken < #letters and '1' or '0', items }
