-- Start the quarantine of a lock node that is new, was emptied or has restarted, and return how much of it is left.
-- KEYS[1] record  see vote.lua, which maintains it too
-- ARGV[1] now, Unix ms, or empty for Redis's own clock
-- ARGV[2] quarantine, ms: how long a server that may have forgotten its votes does not vote
-- ARGV[3] 1 if the server loses nothing when it restarts, else 0
-- Returns the rest of the quarantine, ms; 0 if the server votes.   O(1)
assert(#KEYS == 1 and #ARGV == 3, "register_node: 1 key, 3 arguments")
local record, quarantine = KEYS[1], tonumber(ARGV[2])
assert(quarantine, "register_node: numbers")
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known, from = string.match(redis.call('GET', record) or '', '^(%x+):(%d+)$')
if known ~= run then
  if not (known and ARGV[3] == '1') then from = string.format('%.0f', now + quarantine) end
  redis.call('SET', record, run .. ':' .. from)
end
return math.max(tonumber(from) - now, 0)
