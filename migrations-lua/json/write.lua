-- Store or delete a document if it is in the expected state, and give it a version that was never used before.
-- KEYS[1] document    string, JSON text; or a value of the module   KEYS[2] version  integer
-- KEYS[3] answer      the stored answer of this operation
-- KEYS[4] text        string, only if the module returns another text than was written: the SHA-1 of the returned text
--   in 40 digits, then the text as written
-- ARGV[1] expected    'any': no document, or a document with a version; 'absent'; 'present': a document with a version;
--   otherwise the version, 0 for a document without one
-- ARGV[2] text        the document; empty: delete it
-- ARGV[3] ttl         integer, milliseconds; 0: no expiry; 'keep': the document's TTL does not change
-- ARGV[4] retention   integer, milliseconds by which the version outlives the document
-- ARGV[5] answer      stored for a repeated request   ARGV[6] answer_ttl  integer, milliseconds; 0: it is not stored
-- ARGV[7] channel     announces the change; empty: no announcement
-- ARGV[8] event       the announcement: the text of a JSON object without its closing brace
-- ARGV[9] backend     'native' or 'module'
-- ARGV[10] frees      1: the new document takes less memory than the existing one; else 0
-- Returns {'created' | 'replaced' | 'deleted', version, remaining TTL in ms or -1}; or, if nothing was done,
--   {'changed', '', 0} for another state than expected, {'absent', '', 0} for a deletion without a document,
--   {'foreign', '', 0} for a string without a version, which may not be a document, and {'repeated', answer, 0} if the
--   operation ran before.   O(size)
assert(#KEYS == 4 and #ARGV == 10, 'write: 4 keys, 10 arguments')
local in_module = ARGV[9] == 'module'
local retention, answer_ttl = tonumber(ARGV[4]), tonumber(ARGV[6])
assert(retention and answer_ttl, 'write: retention and answer_ttl are integers')
assert(ARGV[3] == 'keep' or tonumber(ARGV[3]), 'write: ttl is an integer')
if answer_ttl > 0 then
  local answer = redis.call('GET', KEYS[3])
  if answer then
    return { 'repeated', answer, 0 }
  end
end
-- Reject values of other types, so that no hash or list of another program is overwritten. STRLEN does so itself.
local exists
if in_module then
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind ~= 'none' and kind ~= 'ReJSON-RL' then
    return redis.error_reply('WRONGTYPE the key does not hold a value of the module')
  end
  exists = kind ~= 'none'
else
  exists = redis.call('STRLEN', KEYS[1]) > 0
end
local known = redis.call('GET', KEYS[2])
local expected = ARGV[1]
local expects_version = expected ~= 'any' and expected ~= 'absent' and expected ~= 'present'
if exists and not known and not expects_version and expected ~= 'absent' then
  return { 'foreign', '', 0 }
end
if (expected == 'absent' and exists) or (expected == 'present' and not exists) then
  return { 'changed', '', 0 }
end
if expects_version and (not exists or expected ~= (known or '0')) then
  return { 'changed', '', 0 }
end
-- At maxmemory Redis refuses a command that can take memory, unless the script has written before. What frees memory may
-- therefore run: it begins with a deletion. The text is stored again below.
if ARGV[2] == '' or ARGV[10] == '1' then
  redis.call('UNLINK', KEYS[4])
end
if ARGV[2] == '' and not exists then
  return { 'absent', '', 0 }
end
-- Redis's time in microseconds, or the previous version plus one if the clock was set back. The version is a text,
-- because formatting a float takes longer than everything else here.
local previous = known and tonumber(known) and known or '0'
local time = redis.call('TIME')
local version = time[1] .. string.format('%06d', time[2])
if tonumber(version) <= tonumber(previous) then
  version = string.format('%.0f', tonumber(previous) + 1)
end
local left, status = -1, 'deleted'
if ARGV[2] == '' then
  redis.call('UNLINK', KEYS[1])
  redis.call('SET', KEYS[2], version, 'PX', retention)
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
    redis.call('SET', KEYS[2], version, 'PX', left + retention)
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
