-- Read a part of a channel's log, and the channel's position.
-- KEYS[1] meta   KEYS[2] log   (see publish.lua)
-- ARGV[1] order     'asc': the oldest after the offset; 'desc': the newest before it
-- ARGV[2] offset    integer, exclusive; empty: from the end where the order begins
-- ARGV[3] limit     integer, messages; 0: only the position
-- ARGV[4] ttl       integer, milliseconds; older messages are hidden
-- ARGV[5] meta ttl  integer, milliseconds that the offset is remembered
-- ARGV[6] epoch     random; the epoch if a new one begins
-- ARGV[7] now       Unix milliseconds; empty: Redis's time
-- Returns {last offset, epoch, offset of the oldest message or '', {message, ...}} in that order.   O(limit), or O(log) while
-- it contains expired messages
assert(#KEYS == 2 and #ARGV == 7, 'history: 2 keys, 7 arguments')
local ttl = tonumber(ARGV[4])
assert(ttl, 'history: ttl is an integer')
local now = tonumber(ARGV[7])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A reader must learn of a new epoch before the next message begins it.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'e', 'r', 's')
local epoch, last = meta[1], meta[3] or '0'
if not epoch or meta[2] ~= server then
  epoch = ARGV[6]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', server, 's', last)
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local first, messages = '', {}
local head = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if head and tonumber(head[2][4]) < now - ttl then
  -- Publishing trims the log in steps; a reader sees none of the expired messages.
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
    head = nil
    if tonumber(entry[2][4]) >= now - ttl then
      head = entry
      break
    end
  end
end
if head then
  first = string.match(head[1], '^%d+')
  if ARGV[3] ~= '0' then
    local entries
    if ARGV[1] == 'asc' then
      local from = head[1]
      if ARGV[2] ~= '' and tonumber(ARGV[2]) >= tonumber(first) then
        from = '(' .. ARGV[2] .. '-0'
      end
      entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[3])
    else
      local to = ARGV[2] == '' and '+' or '(' .. ARGV[2] .. '-0'
      entries = redis.call('XREVRANGE', KEYS[2], to, head[1], 'COUNT', ARGV[3])
    end
    for at, entry in ipairs(entries) do
      messages[at] = entry[2][2]
    end
  end
end
return { last, epoch, first, messages }
