#!lua
-- ARGV: time, the head row to be followed, incarnation, epoch, the head row after it, state, last step, answer row, the
-- step through which answers are released, writer, kept row or nothing, kept steps that go. Replies 1 and the mark, or 0
-- and what lies there. The head row says the step, so that to compare its bytes is to compare the step and more.

local time = now()
local reply, about = found_at(time)
if reply[2] ~= ARGV[2] or not about or about.incarnation ~= ARGV[3] or about.epoch ~= ARGV[4] then
  return reply
end
-- A script that fails half-way keeps what it wrote: keys of another kind have to be found before.
redis.call('HLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
local first = tonumber(about.oldest)
local oldest = first
-- Nobody else is served meanwhile, so the count is bounded, by twice the widest window: answers that long may lie there,
-- as a chunk stays while one step of it does. It counts from 0, since a double beyond 2^53 does not grow by 1.
for past = 0, math.min(tonumber(ARGV[9]) - first, 2047) do
  local step = first + past
  if redis.call('HDEL', KEYS[2], string.format('%.0f', step)) == 1 then
    oldest = step + 1
  end
end
local mark = mark_of(about.incarnation, about.epoch, time, string.format('%.0f', oldest), ARGV[10])
redis.call('HSET', KEYS[1], 'head', ARGV[5], 'mark', mark, 'state', ARGV[6])
redis.call('HSET', KEYS[2], ARGV[7], ARGV[8])
for place = 12, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[place])
end
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[7], ARGV[11])
end
return { 1, mark }
