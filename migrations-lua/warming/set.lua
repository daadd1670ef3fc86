-- Set or delete a field of a task's state, which is kept for its life.
-- KEYS[1] state  hash
-- ARGV[1] life   integer, ms   ARGV[2] field   ARGV[3] value  empty: the field is deleted, which a full Redis permits
-- ARGV[4] new    '1' if a field that exists must not change
-- Returns 1, or 0 if the field exists: then nothing was changed.   O(1)
assert(#KEYS == 1 and #ARGV == 4, 'set: 1 key, 4 arguments')
if ARGV[4] == '1' and redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
