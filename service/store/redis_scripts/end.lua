#!lua flags=allow-oom
-- ARGV: time, how, incarnation, tombstone row, seconds to live, and the rows that were found there (head, mark,
-- tombstone) or nothing. How: 'delete' compares the incarnation; 'expire' its age too; 'unread' ends what is damaged, if
-- it is still the same. Replies 1 and the rows before, 2 and them if it is too young, or 0 and what lies there.

local time = now()
local reply, about = found_at(time)
local epoch, oldest = '0', '0'
if ARGV[2] == 'unread' then
  if (reply[2] or '') ~= ARGV[6] or (reply[3] or '') ~= ARGV[7] or (reply[4] or '') ~= ARGV[8] then
    return reply
  end
else
  if not reply[2] or not about or about.incarnation ~= ARGV[3] then
    return reply
  end
  if ARGV[2] == 'expire' and about.used + tonumber(ARGV[5]) > time then
    reply[1] = 2
    return reply
  end
  epoch, oldest = about.epoch, about.oldest
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'tombstone', ARGV[4], 'mark', mark_of(ARGV[3], epoch, time, oldest, ''))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', TOMBSTONE_TTL * 1000))
reply[1] = 1
return reply
