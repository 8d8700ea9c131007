#!lua flags=allow-oom
-- ARGV: time, incarnation, writer. Looks at the incarnation alone, so that no commit can starve it. Replies 1, the head
-- and the marks before and after, or 0 and what lies there.

local time = now()
local reply, about = found_at(time)
if not reply[2] or not about or about.incarnation ~= ARGV[2] then
  return reply
end
local mark = mark_of(about.incarnation, string.format('%.0f', tonumber(about.epoch) + 1), time, about.oldest, ARGV[3])
redis.call('HSET', KEYS[1], 'mark', mark)
return { 1, reply[2], reply[3], mark }
