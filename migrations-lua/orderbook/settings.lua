-- Create a book, or change its rules.
-- KEYS[1 .. 13]  the keys of the book, see book.lua
-- ARGV[1] now    Unix milliseconds; empty: Redis's time
-- ARGV[2] rules  <mode> <kind> <price decimals> <quantity decimals> <tick> <lot> <lowest ticks> <highest ticks>
-- ARGV[3] create '1' if an existing book must not change     ARGV[4] life  integer, milliseconds that an idle book is kept
-- Returns {'created' | 'changed' | 'same' | 'exists' | 'mode' | 'in-use'}: the last three changed nothing. A new generation
-- begins if the meaning of numbers changes.   O(1)
assert(#KEYS == 13 and #ARGV == 4, 'settings: 13 keys, 4 arguments')
local time = redis.call('TIME')
local now = tonumber(ARGV[1]) or time[1] * 1000 + math.floor(time[2] / 1000)
local moment, pattern = string.format('%d', now), '^(%S+ %S+) (%S+ %S+ %S+ %S+) '
local state = redis.call('HMGET', KEYS[1], 'generation', 'seq', 'rules')
local sequence, generation = tonumber(state[2]) or 0, now * 1000
if state[1] then
  if ARGV[3] == '1' then return {'exists'} end
  if state[3] == ARGV[2] then return {'same'} end
  local mode, numbers = string.match(state[3], pattern)
  local new_mode, new_numbers = string.match(ARGV[2], pattern)
  if mode ~= new_mode then return {'mode'} end
  if numbers == new_numbers then
    redis.call('HSET', KEYS[1], 'rules', ARGV[2])
    return {'changed'}
  end
  if redis.call('EXISTS', KEYS[4], KEYS[5]) > 0 then return {'in-use'} end
  generation = math.max(generation, tonumber(state[1]) + 1)
else
  -- What is left of a book whose state was lost: its numbers are not used again.
  local last = redis.call('XREVRANGE', KEYS[9], '+', '-', 'COUNT', 1)[1]
  if last then sequence = tonumber(string.match(last[1], '^%d+')) end
  -- A full Redis refuses this write, and would permit those behind the deletion.
  redis.call('HSET', KEYS[1], 'rules', ARGV[2])
  redis.call('UNLINK', unpack(KEYS))
end
local number = string.format('%d', sequence + 1)
redis.call('HDEL', KEYS[1], 'last_price')
redis.call('XADD', KEYS[9], number .. '-0', 'k', 'settings', 't', moment, 'c', '', 'o', '', 'f', '')
redis.call('HSET', KEYS[1], 'generation', string.format('%d', generation), 'seq', number, 'floor', number, 'rules', ARGV[2],
  'server', string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)'), 'updated', moment, 'armed', moment)
for at = 1, 9 do redis.call('PEXPIRE', KEYS[at], ARGV[4]) end
return {state[1] and 'changed' or 'created'}
