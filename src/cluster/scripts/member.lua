-- Enters, renews or leaves; or does what the operator of a member asks for: gives another member up, or closes the
-- history, or switches the mode of a rule for all members.
--
-- ARGV[11] 'enter', 'renew', 'leave', 'give_up', 'close' or 'switch'
-- ARGV[12] the time of this server by which it has to run: later, the node no longer reckons with it
-- ARGV[13] the number of the switched modes that the node knows: the larger number counts
-- ARGV[14] those modes, as a text that is not looked at here
-- ARGV[15] of an entry: '1' if the process has sent nothing yet; of 'give_up': the member's name
-- ARGV[16] of an entry: the fingerprint of the node's rules
-- ARGV[17] of an entry: '1' if the server's clock has stepped, so that no lease means anything
-- Returns the time, the history, the end of the lease, the epoch, what is left of the doubt, why the app is open, until
-- when a new history is, the cause of the epoch, how many members are present, how many are missing, and the switched
-- modes that count, with their number.
local action = ARGV[FIRST + 1]
local why = unfit()
if not why and action ~= 'enter' then why = unentered() end
if not why and now > tonumber(ARGV[FIRST + 2]) then why = 'late' end
if why then return refused(why) end

-- An entry that runs after a later one of its process.
local function is_overtaken()
  local present = record and record.members[node]
  return present and string.sub(present.generation, 1, 32) == string.sub(generation, 1, 32)
    and present.generation > generation
end
if action == 'enter' and is_overtaken() then return refused('late') end

local function enter()
  local is_fresh, stepped = ARGV[FIRST + 5] == '1', set_back or ARGV[FIRST + 7] == '1'
  if not record then
    record =
      {history = '', epoch = fresh_epoch, doubt = 0, open_until = 0, rules = '', saved = now, members = {}, wide = {}}
  end
  local begins = record.history ~= history or stepped
  if begins then
    gap = 0
    -- What was lost may have held members that are blind now: open until all of them must be fenced. The lease of each
    -- may have begun just now.
    record.history = history
    record.open_until = now + lease + member_timeout
    for _, member in pairs(record.members) do member.missing = now + lease end
    if stepped then record.doubt = 0 end
    doubting('history')
  end
  pass_time()
  local before = record.members[node]
  local quiet = is_fresh and not before
  record.members[node] =
    {generation = generation, lease = now + lease, rules = ARGV[FIRST + 6], version = version}
  apply_rules()
  if not quiet then doubting('entered', node) end
  -- The process before may send what it holds until its lease is over.
  if before and not before.missing then record.doubt = math.max(record.doubt, before.lease + doubt_period + 1) end
  if begins then record.cause = 'history' end
end

-- The operator's word that the process of this member has ended. Returns why it is not taken: there is no such member,
-- or its lease lasts (at the start of a history it may).
local function give_up_now(name)
  local member = record.members[name]
  if not member then return 'absent' end
  if not member.missing or member.missing > now then return 'leased' end
  give_up(name)
end

if action == 'enter' then
  enter()
elseif action == 'renew' then
  pass_time()
  record.members[node].lease = now + lease
elseif action == 'give_up' then
  pass_time()
  local kept = give_up_now(ARGV[FIRST + 5])
  if kept then return refused(kept) end
elseif action == 'close' then
  -- The operator's word that no process lives that the record does not name.
  pass_time()
  if record.open_until > 0 then
    record.open_until = 0
    doubting('operator')
  end
elseif action == 'switch' then
  pass_time()
else
  pass_time()
  record.members[node] = nil
  apply_rules()
  for _, holder in pairs(record.wide) do
    if holder[1] == node then
      doubting('left', node)
      break
    end
  end
end
-- The modes are lost with the data, but the members that live know them.
local number = tonumber(ARGV[FIRST + 3])
if number > (record.switched or 0) then
  record.switched, record.modes = number, ARGV[FIRST + 4]
end
-- They hold as long as somebody is there who could say that they do.
if not next(record.members) then record.modes = '' end
save()
local member = record.members[node]
local present, missing = 0, 0
for _, other in pairs(record.members) do
  if other.missing then missing = missing + 1 else present = present + 1 end
end
return {
  'ok', ARGV[1], now, history, member and member.lease or 0, record.epoch, math.max(record.doubt - now, 0), openness(),
  record.open_until, record.cause or '', present, missing, record.switched or 0, record.modes or '',
}
