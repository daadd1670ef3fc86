-- Run a write only if its target has seen no newer token of the lock that guards it, and store the token.
-- The text of the write's script is inserted into the function `write` below and sees its own KEYS and ARGV.
-- KEYS[1] fence     integer text, the highest token seen     KEYS[2 ..] the keys of the write, in the fence's slot
-- ARGV[.. n - 3]    the arguments of the write               ARGV[n - 2] token  integer, 1 .. 2^53 - 1
-- ARGV[n - 1] outlive  integer, ms that the fence is kept longer than the longest-lived key of the write
-- ARGV[n] endless   integer, ms that the fence is kept if one of these keys does not expire
-- Returns the reply of the write, or if it was not run the error STALEFENCE <highest>, or AHEADFENCE for a token more than
-- an hour above Redis's time in microseconds, which no lock can have granted. A highest token that is 70 minutes above it was
-- stored before the clock was set back: locks have forgotten it as well (locks/fence.lua), so that it is not compared. A full
-- Redis does not store the token of a write that changes nothing. A write that fails leaves the fence unchanged. A write whose
-- own condition is not met stores the token nevertheless.
-- O(keys) beside the write
local function write(KEYS, ARGV)
--- the write
end

assert(#KEYS >= 2 and #ARGV >= 3, 'fence: its key and the keys of the write, 3 arguments behind those of the write')
local fence, text = KEYS[1], ARGV[#ARGV - 2]
local token, outlive, endless = tonumber(text), tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
assert(token and outlive and endless, 'fence: token, outlive and endless are integers')
local time = redis.call('TIME')
if token > (time[1] + 3600) * 1000000 + time[2] then return redis.error_reply('AHEADFENCE ' .. time[1]) end
local highest = tonumber(redis.call('GET', fence)) or 0
if highest > (time[1] + 4200) * 1000000 + time[2] then highest = 0 end
if token < highest then return redis.error_reply(string.format('STALEFENCE %.0f', highest)) end

local keys = {unpack(KEYS, 2)}
local reply = write(keys, {unpack(ARGV, 1, #ARGV - 3)})
if type(reply) == 'table' and reply.err then return reply end

-- The TTL is never shortened: an earlier write may have had keys that this one does not have.
local life = redis.call('PTTL', fence)
for _, key in ipairs(keys) do
  local left = redis.call('PTTL', key)
  life = math.max(life, left == -1 and endless or math.max(left, 0) + outlive)
end
-- A full Redis refuses this only if the write has changed nothing.
local stored = redis.pcall('SET', fence, text, 'PX', string.format('%.0f', life))
if type(stored) == 'table' and stored.err and string.sub(stored.err, 1, 3) ~= 'OOM' then return stored end
return reply
