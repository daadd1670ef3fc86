-- Delete a book. The indexes of its owners expire by themselves.
-- KEYS  every other key of the book, those of a staged snapshot and of ended orders included
-- KEYS[1] state
-- Returns the number of keys.   O(keys); the memory is freed in the background
assert(#KEYS > 1, 'delete: the keys of the book')
return redis.call('UNLINK', unpack(KEYS))
