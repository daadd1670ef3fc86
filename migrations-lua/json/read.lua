-- Read a document from the module.
-- KEYS[1] document  a value of the module   KEYS[2] version  integer   KEYS[4] the stored answer of an operation
-- KEYS[3] text      string: the SHA-1 of the text that the module returns, in 40 digits, then the text as written
-- Returns {text, version, remaining TTL in ms or -1, answer}. The text is empty if no document exists, the answer is
--   empty if none is stored, and the version is 0 if another program wrote the document.   O(size)
assert(#KEYS == 4 and #ARGV == 0, 'read: 4 keys, no arguments')
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'ReJSON-RL' then
  return redis.error_reply('WRONGTYPE the key does not hold a value of the module')
end
local answer = redis.call('GET', KEYS[4]) or ''
if kind == 'none' then
  return { '', '0', -1, answer }
end
local text = redis.call('JSON.GET', KEYS[1])
local written = redis.call('GET', KEYS[3])
-- If another program has changed the value, the text as written is outdated.
if written and string.sub(written, 1, 40) == redis.sha1hex(text) then
  text = string.sub(written, 41)
end
return { text, redis.call('GET', KEYS[2]) or '0', redis.call('PTTL', KEYS[1]), answer }
