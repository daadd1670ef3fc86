-- Prove that scripts may run; called once on every new connection.
-- KEYS[1] any key of the service; it is not accessed
-- Returns 1.   O(1)
assert(#KEYS == 1, "probe: 1 key")
return 1
