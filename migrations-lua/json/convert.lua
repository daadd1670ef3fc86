-- Bring a document into the other backend's form; text, version and life stay, and so does its entity tag.
-- KEYS[1] document  string, JSON text, or the module's value
-- KEYS[2] text      string, beside the module's value where it shows the document otherwise than it was written: SHA-1
--   of what it shows, in 40 digits, then the document as it was written
-- ARGV[1] backend   'native' or 'module'
-- Returns 'moved', 'there' when it has the form, 'absent', or 'other' for what is no document.   O(size)
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
  -- Beside the document first: a string that is no JSON stays as it is.
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
  -- What ends in this millisecond has ended: 0 would delete it, as it should.
  redis.call('PEXPIRE', KEYS[1], left)
  redis.call('PEXPIRE', KEYS[2], left)
end
return 'moved'
