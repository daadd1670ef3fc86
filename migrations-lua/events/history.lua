-- Read a part of a channel's log, and the channel's position.
-- KEYS[1] meta   KEYS[2] log   (see publish.lua)
-- ARGV[1] order     'asc': the oldest after the offset; 'desc': the newest before it
-- ARGV[2] offset    integer, exclusive; empty: from the end where the order begins
-- ARGV[3] limit     integer, messages; 0: only the position
-- ARGV[4] ttl       integer, milliseconds; older messages are hidden
-- ARGV[5] meta ttl  integer, milliseconds that the offset is remembered
-- ARGV[6] epoch     random; the epoch if a new one begins
-- ARGV[7] now       Unix milliseconds; empty: Redis's time
-- ARGV[8] bytes     integer; the part ends before the message that exceeds them, but has at least one
-- Returns {last offset, epoch, offset of the oldest message or '', {message, ...} in that order, 1 if more follow or else 0}.
-- O(limit)
assert(#KEYS == 2 and #ARGV == 8, 'history: 2 keys, 8 arguments')
local limit, ttl, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[8])
assert(limit and ttl and bytes, 'history: limit, ttl and bytes are integers')
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
local first, messages, more = '', {}, 0
local function offset_of(entry)
  return tonumber((string.match(entry[1], '^%d+')))
end
local head = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if head and tonumber(head[2][4]) < now - ttl then
  -- Publishing trims the log in steps; a reader sees none of the expired messages. Times rise with the offsets.
  local low, high = offset_of(head) + 1, tonumber(last) + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', middle), '+', 'COUNT', 1)[1]
    if entry and tonumber(entry[2][4]) < now - ttl then
      low = offset_of(entry) + 1
    else
      high = middle
    end
  end
  head = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', low), '+', 'COUNT', 1)[1]
end
if head then
  first = string.match(head[1], '^%d+')
  local command, from, to = 'XRANGE', head[1], '+'
  if ARGV[1] ~= 'asc' then
    command, from, to = 'XREVRANGE', ARGV[2] == '' and '+' or '(' .. ARGV[2] .. '-0', head[1]
  elseif ARGV[2] ~= '' and tonumber(ARGV[2]) >= tonumber(first) then
    from = '(' .. ARGV[2] .. '-0'
  end
  local size, is_complete = 0, limit == 0
  while not is_complete do
    -- About as many as fit, by the average so far.
    local fitting = #messages == 0 and 8 or math.floor((bytes - size) * #messages / size) + 1
    local asked = math.min(limit + 1 - #messages, fitting, 500)
    local entries = redis.call(command, KEYS[2], from, to, 'COUNT', asked)
    is_complete = #entries < asked
    for _, entry in ipairs(entries) do
      local message = entry[2][2]
      if #messages == limit or #messages > 0 and size + #message > bytes then
        more, is_complete = 1, true
        break
      end
      messages[#messages + 1], size, from = message, size + #message, '(' .. entry[1]
    end
  end
end
return { last, epoch, first, messages, more }
