-- Move a document to the other storage backend. Text, version and TTL do not change, so the entity tag stays valid.
-- KEYS[1] document  string, JSON text; or a value of the module
-- KEYS[2] text      string, only if the module returns another text than was written: the SHA-1 of the returned text
--   in 40 digits, then the text as written
-- ARGV[1] backend   'native' or 'module'
-- Returns 'moved'; 'there' if the document is in that backend already; 'absent'; or 'other' if the value is not a
--   document.   O(size)
assert(#KEYS == 2 and #ARGV == 1, 'convert: 2 keys, 1 argument')
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  return 'absent'
elseif kind == (ARGV[1] == 'module' and 'ReJSON-RL' or 'string') then
  return 'there'
elseif kind ~= 'string' and kind ~= 'ReJSON-RL' then
  return 'other'
end
local left = redis.call('PTTL', KEYS[1])
if ARGV[1] == 'module' then
  local text = redis.call('GET', KEYS[1])
  -- Try another key first, so that a string that is not JSON is not changed.
  redis.call('UNLINK', KEYS[2])
  local tried = redis.pcall('JSON.SET', KEYS[2], '$', text)
  if tried.err then
    return string.find(tried.err, '^OOM') and tried or 'other'
  end
  local shown = redis.call('JSON.GET', KEYS[2])
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('JSON.SET', KEYS[1], '$', text)
  if shown ~= text then
    redis.call('SET', KEYS[2], redis.sha1hex(shown) .. text)
  end
else
  local text = redis.call('JSON.GET', KEYS[1])
  local written = redis.call('GET', KEYS[2])
  if written and string.sub(written, 1, 40) == redis.sha1hex(text) then
    text = string.sub(written, 41)
  end
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('SET', KEYS[1], text)
end
if left >= 0 then
  -- A TTL of 0 deletes the document, which expires in this millisecond.
  redis.call('PEXPIRE', KEYS[1], left)
  redis.call('PEXPIRE', KEYS[2], left)
end
return 'moved'
