-- Replace all levels of a book by those of a snapshot, which may come in several calls.
-- KEYS[1 .. 13]  the keys of the book, see book.lua   KEYS[14] name  string: which snapshot is being written
-- KEYS[15] buy levels   KEYS[16] sell levels   KEYS[17] levels   what replaces KEYS[4], KEYS[5] and KEYS[6]
-- ARGV[1 .. 5]   see book.lua   ARGV[6] name  of the snapshot   ARGV[7] part  'first', 'middle', 'last' or 'only'
-- ARGV[8] as_of  Unix milliseconds; empty: now   ARGV[9] source  integer, the sender's sequence; empty: none
-- ARGV[10 ..] two for each level: <b|s><ticks> and `<quantity> <orders>`
-- Returns {'staged'}, {'replaced', generation, sequence}, {'stale', <what the last snapshot has>} or {'interrupted'} if another
-- snapshot has begun; the last two changed nothing.   O(levels log n)
assert(#KEYS == 17 and #ARGV % 2 == 1 and #ARGV >= 9, 'replace_levels: 17 keys, 9 arguments and 2 for each level')
local part, as_of = ARGV[7], ARGV[8] ~= '' and ARGV[8] or moment
local last = call('HMGET', STATE, 'as_of', 'source')
if ARGV[9] ~= '' and last[2] and tonumber(ARGV[9]) <= tonumber(last[2]) then
  return {'stale', 'source_sequence ' .. last[2]}
end
if ARGV[9] == '' and last[1] and tonumber(as_of) < tonumber(last[1]) then return {'stale', 'as_of ' .. last[1]} end
if part == 'first' or part == 'only' then
  call('UNLINK', KEYS[15], KEYS[16], KEYS[17])
  call('SET', KEYS[14], ARGV[6], 'PX', 600000)
elseif call('GET', KEYS[14]) ~= ARGV[6] then
  return {'interrupted'}
end
for at = 10, #ARGV, 2 do
  local side, ticks = sub(ARGV[at], 1, 1), sub(ARGV[at], 2)
  call('HSET', KEYS[17], ARGV[at], ARGV[at + 1])
  call('ZADD', side == 'b' and KEYS[15] or KEYS[16], side == 'b' and 0 - ticks or ticks, ticks)
end
if part == 'first' or part == 'middle' then
  for at = 15, 17 do call('PEXPIRE', KEYS[at], 600000) end
  return {'staged'}
end
for at = 1, 3 do
  -- RENAME needs a source.
  if call('EXISTS', KEYS[14 + at]) == 1 then
    call('RENAME', KEYS[14 + at], KEYS[3 + at])
  else
    call('UNLINK', KEYS[3 + at])
  end
end
call('UNLINK', KEYS[14])
call('HSET', STATE, 'as_of', as_of)
if ARGV[9] ~= '' then call('HSET', STATE, 'source', ARGV[9]) end
emit('snapshot', '', '')
is_new_key = true
return done({ 'replaced', generation, format('%.0f', sequence) })
