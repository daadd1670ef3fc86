-- Store the response of an attempt that succeeded.
-- KEYS[1] record  hash, see claim.lua
-- ARGV[1] owner   string, identifies the attempt      ARGV[2] retention  integer, milliseconds, > 0
-- ARGV[3] request string, digest of query and content type
-- ARGV[4] body    string, digest of the body; empty if the route did not read all of it
-- ARGV[5] status  integer                        ARGV[6] headers    string
-- ARGV[7] answer  string, the response body; absent if it is too large to keep
-- Returns 1, or 0 if the record no longer belongs to this attempt.   O(1)
assert(#KEYS == 1 and (#ARGV == 6 or #ARGV == 7), "complete: 1 key, 6 or 7 arguments")
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
-- First what frees memory: the response of a claim must be stored even if Redis has become full.
redis.call('HDEL', KEYS[1], 'owner')
redis.call('HSET', KEYS[1], 'request', ARGV[3], 'body', ARGV[4], 'status', ARGV[5], 'headers', ARGV[6])
if ARGV[7] then redis.call('HSET', KEYS[1], 'answer', ARGV[7]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
