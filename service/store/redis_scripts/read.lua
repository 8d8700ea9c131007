#!lua flags=no-writes
-- ARGV: time, what, step. Replies with the rows at the place and, fifth, what was asked for.

local reply = found_at(now())
local what, step = ARGV[2], tonumber(ARGV[3])
if not reply[2] then
  return reply
end
if what == 'state' then
  reply[5] = redis.call('HGET', KEYS[1], 'state')
elseif what == 'kept' then
  reply[5] = redis.call('HGET', KEYS[3], ARGV[3])
elseif what == 'answers' or what == 'answer' then
  local steps = {}
  for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
    local last_step = tonumber(name)
    if last_step and last_step >= step then
      steps[#steps + 1] = last_step
    end
  end
  table.sort(steps)
  local rows = {}
  for place, last_step in ipairs(steps) do
    if place == 1 or what == 'answers' then
      local name = string.format('%.0f', last_step)
      rows[#rows + 1] = { name, redis.call('HGET', KEYS[2], name) }
    end
  end
  reply[5] = rows
elseif what == 'all' then
  reply[5] = { redis.call('HGET', KEYS[1], 'state'), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]) }
end
return reply
