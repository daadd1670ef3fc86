-- Acknowledge delivered events, return them, hold them longer, or count those that are still held.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[4] verb       'ack': the events are done; 'nack': deliver them again; 'extend': the timeout begins again;
--   'check': nothing, and a receipt whose timeout is over counts as stale
-- ARGV[5] delay      integer, milliseconds until events are delivered again after 'nack'
-- ARGV[6] channel    whose subscribers are told after 'nack'
-- ARGV[7 + 2n]       of each receipt: version, delivery
-- Returns {'settled' | 'no-stream' | 'no-group', number of the events, {version, delivery of each receipt that is stale}}, as
-- text.   O(receipts log pending)
assert(#KEYS == 7 and #ARGV >= 8 and #ARGV % 2 == 0, 'settle: 7 keys, 6 arguments and 2 for each receipt')
local delay = tonumber(ARGV[5])
assert(delay, 'settle: delay is an integer')
if not group then return { 'no-group' } end
local settled, stale = 0, {}
-- Nothing here takes memory. A full Redis permits writes behind a deletion, even of a field that does not exist.
redis.call('HDEL', KEYS[6], '')
for at = 7, #ARGV, 2 do
  local own = ARGV[at]
  local delivery, rest = string.match(redis.call('HGET', KEYS[6], own) or '', '^(%d+) (.*)$')
  local is_over = ARGV[4] == 'check' and tonumber(redis.call('ZSCORE', KEYS[4], padded(own)) or 0) <= now
  if delivery ~= ARGV[at + 1] or is_over then
    stale[#stale + 1] = own
    stale[#stale + 1] = ARGV[at + 1]
  else
    settled = settled + 1
    if ARGV[4] == 'ack' then
      forget(own)
    elseif ARGV[4] == 'nack' then
      -- No receipt contains delivery 0.
      hold(own, now + delay, '0 ' .. rest)
    elseif ARGV[4] == 'extend' then
      redis.call('ZADD', KEYS[4], text(now + group.timeout), padded(own))
    end
  end
end
save()
if ARGV[4] == 'nack' and settled > 0 then redis.call('PUBLISH', ARGV[6], '') end
return { 'settled', text(settled), stale }
