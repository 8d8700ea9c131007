#!lua
-- ARGV: time, when the creation began, how long it may take, the mark of the tombstone that gives way ('*' for any),
-- incarnation, oldest kept answer, writer, head row, state, number of answers, then last step and row of each, then step
-- and row of each kept state. Replies 1 and the mark, 0 and what lies there, or 2 if it took too long: whoever tidies the
-- indexes may have taken the entries for those of a creation that never came.

local time = now()
local reply = found_at(time)
local gives_way = reply[4] and (ARGV[4] == '*' or ARGV[4] == reply[3])
if reply[2] or ((reply[3] or reply[4]) and not gives_way) then
  return reply
end
if time - tonumber(ARGV[2]) > tonumber(ARGV[3]) then
  return { 2 }
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
local mark = mark_of(ARGV[5], '0', tonumber(ARGV[2]), ARGV[6], ARGV[7])
redis.call('HSET', KEYS[1], 'head', ARGV[8], 'mark', mark, 'state', ARGV[9])
local kept = 11 + 2 * tonumber(ARGV[10])
for place = 11, #ARGV, 2 do
  redis.call('HSET', place < kept and KEYS[2] or KEYS[3], ARGV[place], ARGV[place + 1])
end
return { 1, mark }
