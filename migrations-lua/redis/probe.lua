-- Shows that scripts may run: called once on every new connection.
-- KEYS[1] any key of ours; it is not touched
-- Returns 1.   O(1)
assert(#KEYS == 1, "probe: 1 key")
return 1
