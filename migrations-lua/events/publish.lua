-- Give messages the next offsets of their channel, store them and publish them, in their order.
-- KEYS[1] meta    hash: e epoch, s last offset, r replication id, v highest revision, b bytes in latest
-- KEYS[2] log     stream of <offset>-0 {m message, t time}   KEYS[3] latest  hash of key -> message
-- KEYS[4 ..]      seen, of each message that may be repeated: string, the offset, epoch and time of the message with its id
-- ARGV[1] keep    'log', 'latest' or 'none': what is stored
-- ARGV[2] channel   the Redis channel
-- ARGV[3] epoch     random; the epoch if a new one begins
-- ARGV[4] size      integer, the most messages in the log, or the most keys in latest
-- ARGV[5] ttl       integer, milliseconds that messages are kept
-- ARGV[6] meta ttl  integer, milliseconds that the offset is remembered
-- ARGV[7] dedupe    integer, milliseconds in which an id is recognised
-- ARGV[8] now       Unix milliseconds; empty: Redis's time
-- ARGV[9] bytes     integer, the most bytes in latest; a message that is larger than the one it replaces must fit
-- ARGV[10 + 4n]     of each message: its members after offset, epoch and timestamp, with the closing brace
-- ARGV[11 + 4n]     key, for latest
-- ARGV[12 + 4n]     revision, integer; a message that is not newer than the highest is not published; empty: none
-- ARGV[13 + 4n]     integer, the place of its key in KEYS; 0: the message is not repeated
-- Returns 'published' | 'duplicate' | 'superseded' | 'full', offset, epoch, time of each message, all as text.   O(messages)
-- beside twice as many expired messages, at least 16, that are trimmed
assert(#KEYS >= 3 and #ARGV >= 13 and #ARGV % 4 == 1, 'publish: at least 3 keys, 9 arguments, 4 for each message')
local keep, channel, size, ttl, room = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[9])
assert(size and ttl and room, 'publish: size, ttl and bytes are integers')
local now = ARGV[8]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
-- Another server, or a restarted one, may lack the newest messages and would use their offsets again.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'e', 'r', 's', 'v', 'b')
local epoch, last, highest = meta[1], meta[3] or '0', tonumber(meta[4])
if not epoch or meta[2] ~= server then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', server)
end
local before, results = tonumber(last), {}
local function reply(status, offset, of_epoch, time)
  local at = #results
  results[at + 1], results[at + 2], results[at + 3], results[at + 4] = status, offset, of_epoch, time
end
local keys, bytes = 0, tonumber(meta[5])
if keep == 'latest' then
  keys = redis.call('HLEN', KEYS[3])
  if keys == 0 then
    bytes = 0
  elseif not bytes then
    -- Earlier versions did not count them.
    bytes = 0
    for _, key in ipairs(redis.call('HKEYS', KEYS[3])) do
      bytes = bytes + redis.call('HSTRLEN', KEYS[3], key)
    end
  end
end
for at = 10, #ARGV, 4 do
  local key, revision, seen = ARGV[at + 1], tonumber(ARGV[at + 2]), KEYS[tonumber(ARGV[at + 3])]
  local earlier = seen and redis.call('GET', seen)
  local replaced = keep == 'latest' and redis.call('HSTRLEN', KEYS[3], key)
  if earlier then
    reply('duplicate', string.match(earlier, '^(%d+) (%w+) (%d+)$'))
  elseif revision and highest and revision <= highest then
    reply('superseded', last, epoch, now)
  elseif replaced == 0 and keys >= size or replaced and #ARGV[at] > replaced and bytes - replaced + #ARGV[at] > room then
    reply('full', last, epoch, now)
  else
    if revision then
      highest = revision
      redis.call('HSET', KEYS[1], 'v', ARGV[at + 2])
    end
    -- Before the message is stored: whatever fails afterwards, no other message gets this offset.
    last = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 's', 1))
    local message = '{"offset":' .. last .. ',"epoch":"' .. epoch .. '","timestamp":' .. now .. ARGV[at]
    if keep == 'log' then
      redis.call('XADD', KEYS[2], 'MAXLEN', size, last .. '-0', 'm', message, 't', now)
    elseif keep == 'latest' then
      redis.call('HSET', KEYS[3], key, message)
      keys, bytes = keys + (replaced == 0 and 1 or 0), bytes - replaced + #message
    end
    if seen then
      redis.call('SET', seen, last .. ' ' .. epoch .. ' ' .. now, 'PX', ARGV[7])
    end
    redis.call('PUBLISH', channel, message)
    reply('published', last, epoch, now)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local added = tonumber(last) - before
if added > 0 then
  if keep == 'latest' then
    redis.call('HSET', KEYS[1], 'b', bytes)
  end
  if keep ~= 'none' then
    redis.call('PEXPIRE', keep == 'log' and KEYS[2] or KEYS[3], ttl)
  end
  -- Every tenth message looks for expired ones.
  if keep == 'log' and last % 10 < added then
    local head = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    if head and tonumber(head[2][4]) < now - ttl then
      local kept = last .. '-0'
      for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', math.max(16, #results / 2))) do
        kept = entry[1]
        if tonumber(entry[2][4]) >= now - ttl then
          break
        end
      end
      redis.call('XTRIM', KEYS[2], 'MINID', kept)
    end
  end
end
return results
