-- What every script shares. KEYS: the session's place, its answers, its kept states; all in one slot.
-- ARGV[1] is the time in seconds for tests that move the clock, and empty for Redis' own.

local function now()
  if ARGV[1] ~= '' then
    return tonumber(ARGV[1])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- The mark is the part of a head that changes without its client knowing the rest: in an open, a renewal, an end. It is
-- text behind a checksum that Redis itself can compute and that covers the place: nobody else's mark passes for it.
local function mark_of(incarnation, epoch, used, oldest, writer)
  local text = '1 ' .. incarnation .. ' ' .. epoch .. ' ' .. string.format('%.17g', used) .. ' ' .. oldest .. ' ' .. writer
  return redis.sha1hex(KEYS[1] .. ' ' .. text) .. ' ' .. text
end

-- Nil for a mark that is missing or damaged: nothing is done then, and the client, who gets the rows, finds the damage.
local function parsed(mark)
  if not mark then
    return nil
  end
  local text = string.sub(mark, 42)
  if string.sub(mark, 1, 41) ~= redis.sha1hex(KEYS[1] .. ' ' .. text) .. ' ' then
    return nil
  end
  local incarnation, epoch, used, oldest, writer = string.match(text, '^1 (%x*) (%d+) (%S+) (%d+) (.*)$')
  if not incarnation then
    return nil
  end
  return { incarnation = incarnation, epoch = epoch, used = tonumber(used), oldest = oldest, writer = writer }
end

-- What lies at the place: head, mark, tombstone. A tombstone of age is as good as gone; Redis drops it by itself too.
-- What is no hash is a session whose mark says so: damaged, and for its client to find, like any other damage.
local function found_at(time)
  local rows = redis.pcall('HMGET', KEYS[1], 'head', 'mark', 'tombstone')
  if rows['err'] then
    if not string.find(rows['err'], 'WRONGTYPE', 1, true) then
      error(rows)
    end
    return { 0, false, FOREIGN, false }, nil
  end
  local head, mark, stone = unpack(rows)
  local about = parsed(mark)
  if stone and not head and about and time >= about.used + TOMBSTONE_TTL then
    return { 0, false, false, false }, nil
  end
  return { 0, head, mark, stone }, about
end
