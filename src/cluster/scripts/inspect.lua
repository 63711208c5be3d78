-- Shows the app's record to any process, also to one that is no member, and on a server that answers no claims. It
-- writes nothing: what time alone changes is only looked at.
--
-- Returns the time, the history, why the server answers no claims (empty: it does), the epoch, its cause, what is left of
-- the doubt, why the app is open ('history', too, while nobody has entered it), until when a new history is open, and
-- of each member in turn: its name, generation, what is left of its lease, since when it is missing (empty: it is not),
-- the fingerprint of its rules, and the version of the records that it writes.
local epoch, cause, doubt, open, open_until, members = '0', '', 0, 'history', 0, {}
if record then
  -- Those that are stored: what begins with the time alone is not known to anybody yet.
  epoch, cause, doubt = record.epoch, record.cause or '', math.max(record.doubt - now, 0)
  pass_time()
  if record.history == history and not set_back then open, open_until = openness(), record.open_until end
  for name, member in pairs(record.members) do
    for _, part in ipairs({
      name, member.generation, decimal(math.max(member.lease - now, 0)), member.missing and decimal(member.missing) or '',
      member.rules, decimal(member.version),
    }) do
      members[#members + 1] = part
    end
  end
end
return {'ok', ARGV[1], now, history, unfit() or '', epoch, cause, doubt, open, open_until, members}
