-- Deliver the events of a stream to a group again, from a version. Earlier receipts become stale.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[4] from     integer, the version of the first event
-- ARGV[5] channel  whose subscribers are told
-- Returns {'replayed' | 'no-stream' | 'no-group'}.   O(1); the memory is freed in the background
assert(#KEYS == 7 and #ARGV == 5 and tonumber(ARGV[4]), 'replay: 7 keys, 5 arguments, from is an integer')
if not group then return { 'no-group' } end
redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6])
group.cursor = math.min(tonumber(ARGV[4]) - 1, version)
save()
redis.call('PUBLISH', ARGV[5], '')
return { 'replayed' }
