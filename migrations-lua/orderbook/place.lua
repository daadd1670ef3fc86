-- Place an order, once for each id.
-- KEYS[1 .. 13]  the keys of the book, see book.lua     KEYS[14] owner  sorted set of the owner's ids by sequence
-- KEYS[15] staged  hash, the orders of a snapshot that is being written
-- ARGV[1 .. 5]   see book.lua
-- ARGV[6] id  ARGV[7] side  b or s  ARGV[8] ticks  integer  ARGV[9] quantity  30 digits, > 0  ARGV[10] owner
-- ARGV[11] expires  Unix milliseconds; empty: after ARGV[12]   ARGV[12] default   ARGV[13] longest  integers, milliseconds
-- ARGV[14] content  <digest of the request> <client id> <epoch> <metadata>, kept as they are
-- ARGV[15] orders  the most of the book   ARGV[16] own  the most of the owner
-- Returns {'placed' | 'replayed', <order>} with the order as `<status> <sequence> <ms> <record>`, or {'reused' | 'full' |
-- 'owner-full' | 'overflow'} or {'expires', <now>}, which placed nothing.   O(log n); O(own) every 10 seconds for an owner that
-- is full, and after an order of such an owner has ended
assert(#KEYS == 15 and #ARGV == 16, 'place: 15 keys, 16 arguments')
sweep(16)
local id, owner = ARGV[6], KEYS[14]
local known, past = find(id)
if known or past then
  local content = (known or parse(id, match(past, '^%S+ %S+ %S+ (.*)$'))).content
  if content ~= ARGV[14] then return done({'reused'}) end
  return done({'replayed', known and LIVE .. text(known) or past})
end
local expires = tonumber(ARGV[11]) or now + ARGV[12]
if expires <= now or expires > now + ARGV[13] then return done({'expires', moment}) end
if call('HLEN', ORDERS) >= tonumber(ARGV[15]) then return done({'full'}) end
local own = tonumber(ARGV[16])
-- The index still has the ids of orders that have ended. Counting takes a while, so the result is kept until an order of the
-- owner ends; 10 seconds, since former versions of `close` do not know of it.
if call('ZCARD', owner) >= own then
  local full = '=' .. ARGV[10]
  if now - (call('HGET', LEVELS, full) or 0) < 10000 then return done({'owner-full'}) end
  if #owned(owner, ARGV[10], KEYS[15]) >= own then
    call('HSET', LEVELS, full, moment)
    return done({'owner-full'})
  end
end
local change = change_level(ARGV[7], ARGV[8], ARGV[9], 1, 1)
if not change then return done({'overflow'}) end
local order = { id = id, side = ARGV[7], ticks = ARGV[8], remaining = ARGV[9], quantity = ARGV[9], owner = ARGV[10],
  expires = format('%d', expires), created = moment, rev = '1', content = ARGV[14] }
local record = store(order, true)
call('ZADD', owner, order.seq, id)
call('PEXPIRE', owner, ARGV[3])
emit('placed', change, line(order), '', order.seq)
return done({'placed', LIVE .. record})
