-- Store what an erasure must remember, also in a full Redis: the erasure frees memory.
-- KEYS[1] record  hash
-- ARGV[1 ..]      field, value, repeatedly
-- Returns the number of new fields.   O(fields)
assert(#KEYS == 1 and #ARGV >= 2 and #ARGV % 2 == 0, 'keep: 1 key, pairs of arguments')
-- Changes nothing, but a full Redis permits the other writes behind it.
redis.call('PERSIST', KEYS[1])
return redis.call('HSET', KEYS[1], unpack(ARGV))
