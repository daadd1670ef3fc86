-- Give a message the next offset of its channel, store it and publish it.
-- KEYS[1] meta  hash: e epoch, s last offset, r replication id, v highest revision
-- KEYS[2] log   stream of <offset>-0 {m message, t time}   KEYS[3] latest  hash of key -> message
-- KEYS[4] seen  string: the offset, epoch and time of the message with this id
-- ARGV[1]  keep       'log', 'latest' or 'none': what is stored
-- ARGV[2]  members    the members of the message after offset, epoch and timestamp, with the closing brace
-- ARGV[3]  channel    the Redis channel
-- ARGV[4]  epoch      random; the epoch if a new one begins
-- ARGV[5]  size       integer, the most messages in the log, or the most keys in latest
-- ARGV[6]  ttl        integer, milliseconds that messages are kept
-- ARGV[7]  meta ttl   integer, milliseconds that the offset is remembered
-- ARGV[8]  dedupe     integer, milliseconds in which the id is recognised; 0: not at all
-- ARGV[9]  key        of the message, for latest
-- ARGV[10] revision   integer; a message that is not newer than the highest is not published; empty: none
-- ARGV[11] now        Unix milliseconds; empty: Redis's time
-- Returns {'published' | 'duplicate' | 'superseded' | 'full', offset, epoch, time}, all as text.   O(1), or O(256) if
-- expired messages are trimmed
assert(#KEYS == 4 and #ARGV == 11, 'publish: 4 keys, 11 arguments')
local size, ttl = tonumber(ARGV[5]), tonumber(ARGV[6])
assert(size and ttl, 'publish: size and ttl are integers')
local seen = ARGV[8] ~= '0' and redis.call('GET', KEYS[4])
if seen then
  local offset, epoch, time = string.match(seen, '^(%d+) (%w+) (%d+)$')
  return { 'duplicate', offset, epoch, time }
end
local now = ARGV[11]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
-- Another server, or a restarted one, may lack the newest messages and would use their offsets again.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'e', 'r', 's', 'v')
local epoch, last = meta[1], meta[3] or '0'
if not epoch or meta[2] ~= server then
  epoch = ARGV[4]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', server)
end
if ARGV[10] ~= '' and meta[4] and tonumber(ARGV[10]) <= tonumber(meta[4]) then
  return { 'superseded', last, epoch, now }
end
if ARGV[1] == 'latest' and redis.call('HLEN', KEYS[3]) >= size and redis.call('HEXISTS', KEYS[3], ARGV[9]) == 0 then
  return { 'full', last, epoch, now }
end
if ARGV[10] ~= '' then
  redis.call('HSET', KEYS[1], 'v', ARGV[10])
end
local number = redis.call('HINCRBY', KEYS[1], 's', 1)
local offset = string.format('%.0f', number)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
local message = '{"offset":' .. offset .. ',"epoch":"' .. epoch .. '","timestamp":' .. now .. ARGV[2]
if ARGV[1] == 'log' then
  redis.call('XADD', KEYS[2], 'MAXLEN', size, offset .. '-0', 'm', message, 't', now)
  redis.call('PEXPIRE', KEYS[2], ttl)
  if number % 10 == 0 then
    local head = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    if head and tonumber(head[2][4]) < now - ttl then
      local kept = offset .. '-0'
      for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 256)) do
        kept = entry[1]
        if tonumber(entry[2][4]) >= now - ttl then
          break
        end
      end
      redis.call('XTRIM', KEYS[2], 'MINID', kept)
    end
  end
elseif ARGV[1] == 'latest' then
  redis.call('HSET', KEYS[3], ARGV[9], message)
  redis.call('PEXPIRE', KEYS[3], ttl)
end
if ARGV[8] ~= '0' then
  redis.call('SET', KEYS[4], offset .. ' ' .. epoch .. ' ' .. now, 'PX', ARGV[8])
end
redis.call('PUBLISH', ARGV[3], message)
return { 'published', offset, epoch, now }
