#!lua flags=allow-oom
-- ARGV: time, incarnation, epoch. Replies 1, or 0 and what lies there.

local time = now()
local reply, about = found_at(time)
if not reply[2] or not about or about.incarnation ~= ARGV[2] or about.epoch ~= ARGV[3] then
  return reply
end
redis.call('HSET', KEYS[1], 'mark', mark_of(about.incarnation, about.epoch, time, about.oldest, about.writer))
return { 1, reply[2] }
