-- List the names of labels, or the values of one label, each once: skips from one to the next, however many series have it.
-- KEYS[1] postings  sorted set of `label NUL value NUL series`, all with score 0
-- ARGV[1] prefix    empty for names; `label NUL` for the values of a label
-- ARGV[2] after     the last part of the previous page; empty for the first page
-- ARGV[3] limit     the most parts
-- Returns part, series, part, series...: a series for each part.   O(limit * log(postings))
assert(#KEYS == 1 and #ARGV == 3, 'label_parts: 1 key, 3 arguments')
local prefix, after, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- UTF-8 never has the byte 255, so a bound with it is after every longer member.
local high = '(' .. prefix .. '\255'
local low = '[' .. prefix
if after ~= '' then low = '(' .. prefix .. after .. '\0\255' end

local found = {}
while #found < 2 * limit do
  local member = redis.call('ZRANGEBYLEX', KEYS[1], low, high, 'LIMIT', 0, 1)[1]
  if not member then break end
  local part = string.sub(member, #prefix + 1, string.find(member, '\0', #prefix + 1, true) - 1)
  found[#found + 1] = part
  found[#found + 1] = string.match(member, '[^%z]*$')
  low = '(' .. prefix .. part .. '\0\255'
end
return found
