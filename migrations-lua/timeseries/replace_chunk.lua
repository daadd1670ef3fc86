-- Replace a sealed chunk by its other form, packed or plain, if it has not changed.
-- KEYS[1] series hash   KEYS[2] chunks sorted set      (both share a hash tag)
-- ARGV[1] start    integer, Unix milliseconds: the chunk's first timestamp
-- ARGV[2] current  SHA-1 (hex) of the chunk to replace
-- ARGV[3] other    the same samples in the other form; empty: the chunk stays plain and is not packed again
-- Returns 1, or 0 when the chunk has changed.   O(log(chunks) + chunk size)
assert(#KEYS == 2 and #ARGV == 3, 'replace_chunk: 2 keys, 3 arguments')
local PLAIN = 1
local start, other = ARGV[1], ARGV[3]
local chunk = redis.call('ZRANGEBYSCORE', KEYS[2], start, start, 'LIMIT', 0, 1)[1]
if not chunk or redis.sha1hex(chunk) ~= ARGV[2] then return 0 end

local mark, plain = chunk:sub(2, 9), redis.call('HGET', KEYS[1], 'plain') or ''
if other ~= '' and other:byte(1) == PLAIN then
  plain = plain .. mark
else
  for at = 1, #plain, 8 do
    if plain:sub(at, at + 7) == mark then
      plain = plain:sub(1, at - 1) .. plain:sub(at + 8)
      break
    end
  end
end
if other ~= '' then
  -- It removes before it adds, so that a chunk can be unpacked for a deletion on a server that is out of memory. It
  -- removes by score, since naming the member would write it to the append-only file once more.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], start, start)
  redis.call('ZADD', KEYS[2], start, other)
  redis.call('HINCRBY', KEYS[1], 'sealed_bytes', #other - #chunk)
end
redis.call('HSET', KEYS[1], 'plain', plain)
-- Removing the only chunk deletes the sorted set, and its expiry with it.
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
return 1
