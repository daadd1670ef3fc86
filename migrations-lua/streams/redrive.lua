-- Deliver dead letters of a group again, as if they had never been delivered.
-- KEYS[1] meta   KEYS[2] log   KEYS[3 .. 7] of the group (see group.lua)
-- ARGV[4] limit    integer, the most dead letters, the oldest first, if no versions follow
-- ARGV[5] channel  whose subscribers are told
-- ARGV[6 ..]       the versions of the dead letters
-- Returns {'redriven' | 'no-stream' | 'no-group', dead letters that are delivered again, those whose event was trimmed}, as
-- text.   O(letters log pending)
assert(#KEYS == 7 and #ARGV >= 5 and tonumber(ARGV[4]), 'redrive: 7 keys, at least 5 arguments, limit is an integer')
if not group then return { 'no-group' } end
local letters, moved, lost = {}, 0, 0
if #ARGV == 5 then
  letters = redis.call('ZRANGE', KEYS[7], 0, ARGV[4] - 1)
end
for at = 6, #ARGV do
  letters[#letters + 1] = redis.call('ZRANGEBYSCORE', KEYS[7], ARGV[at], ARGV[at])[1]
end
for _, letter in ipairs(letters) do
  local own = string.match(letter, '^%d+')
  redis.call('ZREM', KEYS[7], letter)
  if #redis.call('XRANGE', KEYS[2], own .. '-0', own .. '-0') == 1 then
    hold(own, now, '0 0 -')
    moved = moved + 1
  else
    lost = lost + 1
  end
end
group.lost = group.lost + lost
save()
if moved > 0 then redis.call('PUBLISH', ARGV[5], '') end
return { 'redriven', text(moved), text(lost) }
