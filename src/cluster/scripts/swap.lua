-- Replaces channels, and what is held for the whole app, if nobody has changed either since they were read.
--
-- ARGV[11] the stamp that was read; empty: whatever it is (a settlement)
-- ARGV[12] the id of a ticket for the whole app that is taken; empty: none
-- ARGV[13] the id of one that ends; empty: none
-- ARGV[14] '1': the app is in doubt from now on
-- KEYS[2..] the channels, with four arguments each: the version that was read (empty: the channel was unknown), the new
-- value (empty: it is removed), after how many milliseconds it is forgotten, and '1' if its key is published.
-- A value begins with the version of its encoding in one byte and its own version in eight.
local why = unfit() or unentered()
if why then return refused(why) end
local changed = pass_time()
local conflict = ARGV[FIRST + 1] ~= '' and ARGV[FIRST + 1] ~= stamp()
for index = 2, #KEYS do
  local present = redis.call('GET', KEYS[index])
  if present and string.byte(present) > version then return refused('newer') end
  local is = present and string.sub(present, 2, 9) or ''
  conflict = conflict or is ~= ARGV[FIRST + 5 + (index - 2) * 4]
end
if conflict then
  if changed then save() end
  return {'conflict', ARGV[1], now, history}
end
local taken, ended = ARGV[FIRST + 2], ARGV[FIRST + 3]
if taken ~= '' then
  record.wide[taken] = {node, generation}
  begin_epoch('wide')
  changed = true
end
local unsure = ARGV[FIRST + 4] == '1'
if ended ~= '' then
  local holder = record.wide[ended]
  record.wide[ended] = nil
  -- A ticket that is gone may have been dropped with another's data.
  if not holder or holder[1] ~= node or holder[2] ~= generation then unsure = true end
  changed = true
end
if unsure then
  doubting('unsure')
  changed = true
end
for index = 2, #KEYS do
  local first = FIRST + 5 + (index - 2) * 4
  local value, forgotten = ARGV[first + 1], ARGV[first + 2]
  if value == '' then
    redis.call('DEL', KEYS[index])
  else
    redis.call('SET', KEYS[index], value, 'PX', forgotten)
  end
  if ARGV[first + 3] == '1' then
    redis.call('PUBLISH', (string.gsub(KEYS[1], 'members$', 'settled')), KEYS[index])
  end
end
if changed then save() end
return {'ok', ARGV[1], now, history}
