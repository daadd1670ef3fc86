-- Run a write only if its target has seen no newer token of the lock that guards it, and remember the token.
-- The text of the write's own script stands inside of `write` below and sees its own KEYS and ARGV.
-- KEYS[1] fence     integer text, the highest token seen     KEYS[2 ..] the keys of the write, in the fence's slot
-- ARGV[.. n - 3]    the arguments of the write               ARGV[n - 2] token  integer, 1 .. 2^53 - 1
-- ARGV[n - 1] outlive  integer, ms that the fence outlives the longest-lived key of the write
-- ARGV[n] endless   integer, ms that it lives when one of these keys has no end
-- Returns what the write returns, or the error STALEFENCE <highest> when it was not run. A write that fails leaves the
-- fence as it was; one that finds its own condition broken does not: its token was seen.   O(keys) beside the write
local function write(KEYS, ARGV)
--- the write
end

assert(#KEYS >= 2 and #ARGV >= 3, 'fence: its key and the keys of the write, 3 arguments behind those of the write')
local fence, text = KEYS[1], ARGV[#ARGV - 2]
local token, outlive, endless = tonumber(text), tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
assert(token and outlive and endless, 'fence: token, outlive and endless are integers')
local highest = tonumber(redis.call('GET', fence)) or 0
if token < highest then return redis.error_reply(string.format('STALEFENCE %.0f', highest)) end

local keys = {unpack(KEYS, 2)}
local reply = write(keys, {unpack(ARGV, 1, #ARGV - 3)})
if type(reply) == 'table' and reply.err then return reply end

-- Never shorter than before: an earlier write may have known of keys that this one does not.
local life = redis.call('PTTL', fence)
for _, key in ipairs(keys) do
  local left = redis.call('PTTL', key)
  life = math.max(life, left == -1 and endless or math.max(left, 0) + outlive)
end
redis.call('SET', fence, text, 'PX', string.format('%.0f', life))
return reply
