-- Put another form of a sealed chunk in its place, if it still stands there.
-- KEYS[1] series hash   KEYS[2] chunks sorted set      (both share a hash tag)
-- ARGV[1] start    integer, Unix ms: the chunk's first timestamp
-- ARGV[2] current  SHA-1 (hex) of the bytes that must stand there
-- ARGV[3] other    the same samples in the other form; empty: the chunk stays plain for good
-- Returns 1, or 0 when the chunk is another one by now.   O(log(chunks) + chunk size)
assert(#KEYS == 2 and #ARGV == 3, 'swap: 2 keys, 3 arguments')
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
  -- Removing goes first, so that a server without memory lets a chunk be unpacked for a deletion. By score: naming the
  -- member would write it to the append-only file once more.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], start, start)
  redis.call('ZADD', KEYS[2], start, other)
  redis.call('HINCRBY', KEYS[1], 'sealed_bytes', #other - #chunk)
end
redis.call('HSET', KEYS[1], 'plain', plain)
-- The only chunk takes the sorted set, and its expiry, with it.
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
return 1
