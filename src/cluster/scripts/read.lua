-- Reads channels, and what all claims rest on.
--
-- KEYS[2..] the channels
-- ARGV[11..] for each channel, after how many milliseconds it is forgotten once no claim names it
-- Returns the time, the stamp (see `stamp`), the epoch, what is left of the app's doubt, why the app is open, the number
-- of tickets for the whole app, the present members as node and generation in turn, and the channels, empty if unknown.
local why = unfit() or unentered()
if why then return refused(why) end
local changed = pass_time()
local members = {}
for name, member in pairs(record.members) do
  if not member.missing then
    members[#members + 1] = name
    members[#members + 1] = member.generation
  end
end
local wide = 0
for _ in pairs(record.wide) do wide = wide + 1 end
local channels = {}
for index = 2, #KEYS do
  local channel = redis.call('GET', KEYS[index])
  channels[index - 1] = channel or ''
  -- A read is a claim. A write only now and then: each is one for the replicas, too.
  local remembered = tonumber(ARGV[FIRST + index - 1])
  if channel and redis.call('PTTL', KEYS[index]) < remembered / 2 then
    redis.call('PEXPIRE', KEYS[index], ARGV[FIRST + index - 1])
  end
end
if changed then save() end
return {
  'ok', ARGV[1], now, history, stamp(), record.epoch, math.max(record.doubt - now, 0), openness(), wide, members, channels,
}
