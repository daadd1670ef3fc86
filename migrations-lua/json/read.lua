-- Read a document that the module keeps.
-- KEYS[1] document  the module's value   KEYS[2] version  integer   KEYS[4] answer of an operation
-- KEYS[3] text      string: SHA-1 of what the module shows, in 40 digits, then the document as it was written
-- Returns {text, version, remaining life in ms or -1, answer}: an empty text when there is no document, an empty answer
--   when none is kept, 0 when somebody else wrote the document.   O(size)
assert(#KEYS == 4 and #ARGV == 0, 'read: 4 keys, no arguments')
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'ReJSON-RL' then
  return redis.error_reply('WRONGTYPE what stands here is no value of the module')
end
local answer = redis.call('GET', KEYS[4]) or ''
if kind == 'none' then
  return { '', '0', -1, answer }
end
local text = redis.call('JSON.GET', KEYS[1])
local written = redis.call('GET', KEYS[3])
-- Once somebody else has changed the value, what was written before is of no use.
if written and string.sub(written, 1, 40) == redis.sha1hex(text) then
  text = string.sub(written, 41)
end
return { text, redis.call('GET', KEYS[2]) or '0', redis.call('PTTL', KEYS[1]), answer }
