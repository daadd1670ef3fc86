-- Delete a group and everything that it holds.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[1 .. 3] as of every script about a group
-- Returns {'deleted' | 'no-stream' | 'no-group'}.   O(1); the memory is freed in the background
assert(#KEYS == 7 and #ARGV == 3, 'delete_group: 7 keys, 3 arguments')
for _, name in ipairs(FIELDS) do
  redis.call('HDEL', KEYS[3], field(name))
end
redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6], KEYS[7])
return { group and 'deleted' or 'no-group' }
