-- Store a document, or delete it, if it still stands as its writer saw it; give it a version that was never there.
-- KEYS[1] document  string, JSON text, or the module's value   KEYS[2] version  integer   KEYS[3] answer of this operation
-- KEYS[4] text        string, beside the module's value where it shows the document otherwise than it was written: SHA-1
--   of what it shows, in 40 digits, then the document as it was written
-- ARGV[1] expected    'any': nothing, or a document that has a version; 'absent'; 'present': such a document; else the
--   version seen, 0 for a document without one
-- ARGV[2] text        the document; empty: delete it
-- ARGV[3] ttl         integer, milliseconds; 0: no expiry; 'keep': what the document has left
-- ARGV[4] life        integer, milliseconds by which the version outlives the document
-- ARGV[5] answer      kept for the operation's repetition   ARGV[6] answer_ttl  integer, milliseconds; 0: it is not kept
-- ARGV[7] channel     where the change is announced; empty: nowhere
-- ARGV[8] event       the announcement: a JSON object's text without its closing brace
-- ARGV[9] backend     'native' or 'module'
-- Returns {'created' | 'replaced' | 'deleted', version, remaining life in ms or -1}; {'changed', '', 0} or
--   {'absent', '', 0} or {'foreign', '', 0} when nothing was done, the last for a string without a version, which may be
--   no document at all; {'repeated', answer, 0} when the operation was done before.   O(size)
assert(#KEYS == 4 and #ARGV == 9, 'write: 4 keys, 9 arguments')
local in_module = ARGV[9] == 'module'
local life, answer_ttl = tonumber(ARGV[4]), tonumber(ARGV[6])
assert(life and answer_ttl and (ARGV[3] == 'keep' or tonumber(ARGV[3])), 'write: ttl, life and answer_ttl are integers')
if answer_ttl > 0 then
  local answer = redis.call('GET', KEYS[3])
  if answer then
    return { 'repeated', answer, 0 }
  end
end
-- What is no document is refused, so that nobody else's hash or list is overwritten; STRLEN does that by itself.
local exists
if in_module then
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind ~= 'none' and kind ~= 'ReJSON-RL' then
    return redis.error_reply('WRONGTYPE what stands here is no value of the module')
  end
  exists = kind ~= 'none'
else
  exists = redis.call('STRLEN', KEYS[1]) > 0
end
local known = redis.call('GET', KEYS[2])
local expected = ARGV[1]
local looked = expected ~= 'any' and expected ~= 'absent' and expected ~= 'present'
if exists and not known and not looked and expected ~= 'absent' then
  return { 'foreign', '', 0 }
end
if (expected == 'absent' and exists) or (expected == 'present' and not exists) then
  return { 'changed', '', 0 }
end
if looked and (not exists or expected ~= (known or '0')) then
  return { 'changed', '', 0 }
end
if ARGV[2] == '' and not exists then
  return { 'absent', '', 0 }
end
-- Redis's time in microseconds, or one more than before when the clock was set back. Texts, since writing a float takes
-- longer than everything else here.
local previous = known and tonumber(known) and known or '0'
local time = redis.call('TIME')
local version = time[1] .. string.format('%06d', time[2])
if tonumber(version) <= tonumber(previous) then
  version = string.format('%.0f', tonumber(previous) + 1)
end
local left, status = -1, 'deleted'
if ARGV[2] == '' then
  redis.call('UNLINK', KEYS[1], KEYS[4])
  redis.call('SET', KEYS[2], version, 'PX', life)
else
  status = exists and 'replaced' or 'created'
  local shown
  if in_module then
    redis.call('JSON.SET', KEYS[1], '$', ARGV[2])
    shown = redis.call('JSON.GET', KEYS[1])
  else
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
  end
  if ARGV[3] == '0' then
    redis.call('PERSIST', KEYS[1])
  elseif ARGV[3] ~= 'keep' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
  left = redis.call('PTTL', KEYS[1])
  if left < 0 then
    redis.call('SET', KEYS[2], version)
  else
    redis.call('SET', KEYS[2], version, 'PX', left + life)
  end
  if shown == ARGV[2] then
    redis.call('UNLINK', KEYS[4])
  elseif shown then
    redis.call('SET', KEYS[4], redis.sha1hex(shown) .. ARGV[2])
    if left >= 0 then
      redis.call('PEXPIRE', KEYS[4], left)
    end
  end
end
if answer_ttl > 0 then
  redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[6])
end
if ARGV[7] ~= '' then
  redis.call('PUBLISH', ARGV[7], ARGV[8] .. ',"version":' .. version .. ',"previous":' .. previous .. '}')
end
return { status, version, left }
