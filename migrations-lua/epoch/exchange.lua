-- Read the current epoch and the record of one epoch, and replace that record if neither has changed.
-- KEYS[1] current   string, JSON: the record of the current epoch
-- KEYS[2] log       hash, epoch number -> record
-- ARGV[1] number    integer, whose record is read or replaced; empty: none
-- ARGV[2] record    JSON, the new record; empty: read only
-- ARGV[3] expected_current, ARGV[4] expected_record  the texts that the caller has read; empty: there was none
-- ARGV[5] becomes_current  1: the record is also that of the current epoch; else 0
-- ARGV[6] life      integer, ms that both keys are kept        ARGV[7] limit  integer, the most records of the log
-- ARGV[8] now       integer, Unix milliseconds; empty: Redis's own clock
-- Returns {1 if the record was replaced, else 0; the texts of the current epoch and of the record as they are now, empty if
--   there is none; the highest number of the log if there is no current epoch, else 0; now in Unix milliseconds}.
--   O(1), or O(log) if there is no current epoch or a full log gets another record
assert(#KEYS == 2 and #ARGV == 8, 'exchange: 2 keys, 8 arguments')
local life, limit, now = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
assert(life and limit, 'exchange: life and limit are integers')
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local function numbers()
  local lowest, highest
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    local number = tonumber(field)
    lowest, highest = math.min(lowest or number, number), math.max(highest or number, number)
  end
  return lowest, highest or 0
end
local current = redis.call('GET', KEYS[1]) or ''
local record = ARGV[1] ~= '' and redis.call('HGET', KEYS[2], ARGV[1]) or ''
if ARGV[2] == '' or current ~= ARGV[3] or record ~= ARGV[4] then
  local _, highest = nil, 0
  if current == '' then _, highest = numbers() end
  return { 0, current, record, string.format('%.0f', highest), now }
end
if record == '' and redis.call('HLEN', KEYS[2]) >= limit then
  local lowest = numbers()
  redis.call('HDEL', KEYS[2], string.format('%.0f', lowest))
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
if ARGV[5] == '1' then
  current = ARGV[2]
  redis.call('SET', KEYS[1], current)
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return { 1, current, ARGV[2], '0', now }
