-- What every script begins with: the server is asked what it is, the app's record is read, and what time alone has
-- changed in it is applied. Nothing is written before `save`: a script is not rolled back.
--
-- KEYS[1]  the app's record
-- ARGV[1]  the number of the request, which the answer repeats
-- ARGV[2]  the node          ARGV[3]  its generation: random, new with each start of its process
-- ARGV[4]  the history that the node has entered; empty: none
-- ARGV[5]  a new random epoch, used if one has to begin
-- ARGV[6]  the lease         ARGV[7]  the time after which a missing member is given up
-- ARGV[8]  the length of a doubt (these three in milliseconds)
-- ARGV[9]  the number of replicas that a write has to reach
-- ARGV[10] the version of the records that the node writes
local FIRST = 10

local node, generation, entered, fresh_epoch = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease, member_timeout, doubt_period = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local replicas, version = tonumber(ARGV[9]), tonumber(ARGV[10])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local info = redis.call('INFO', 'replication')
local role = string.match(info, 'role:(%a+)')
local history = string.match(info, 'master_replid:(%x+)')
local slaves = tonumber(string.match(info, 'connected_slaves:(%d+)'))

local function decimal(number)
  return string.format('%.0f', number)
end

-- An answer that nothing was done, and why. It says what time it is and whose history this is, so that an entry can
-- follow.
local function refused(why)
  return {'refused', ARGV[1], now, history, why}
end

local stored = redis.call('GET', KEYS[1])
local record = stored and cmsgpack.unpack(stored)

-- The clock was set back since the record was saved: no time in it means anything.
local set_back = record and record.saved > now + lease / 4
-- Nothing was saved for longer than any member lets pass: either all were away, or the clock was set ahead. No part of
-- that time counts.
local gap = record and now - record.saved > math.max(lease, 100) and now - record.saved or 0

-- A new epoch: nothing that is known counts any more. The record keeps its cause, for people.
local function begin_epoch(cause)
  record.epoch = fresh_epoch
  record.cause = cause
end

-- A new epoch that begins in doubt. What `gone` held for all channels is dropped.
local function doubting(cause, gone)
  begin_epoch(cause)
  record.doubt = math.max(record.doubt, now + doubt_period + 1)
  for id, holder in pairs(record.wide) do
    if gone and holder[1] == gone then record.wide[id] = nil end
  end
end

-- The rules of all members and the versions of what they write, which are the last member's when none is left. A change
-- begins a new epoch in doubt: who has others forwarded without tickets that count.
local function apply_rules()
  local present, rules = {}, {}
  for _, member in pairs(record.members) do
    local own = member.rules .. '/' .. member.version
    if not present[own] then
      present[own] = true
      rules[#rules + 1] = own
    end
  end
  if #rules == 0 then return end
  table.sort(rules)
  local in_use = table.concat(rules, ' ')
  if in_use ~= record.rules then
    record.rules = in_use
    doubting('rules')
  end
end

-- The members do not wait for `name` any more.
local function give_up(name)
  record.members[name] = nil
  apply_rules()
  doubting('given_up', name)
end

-- What time alone changes: leases end, missing members are given up, and a new history is not open any more. Returns
-- whether the record has changed.
local function pass_time()
  local changed = gap > 0
  if record.open_until > 0 then record.open_until = record.open_until + gap end
  if record.doubt > record.saved then record.doubt = record.doubt + gap end
  -- Doubts about single channels may have ended too early.
  if gap > 0 and next(record.members) then doubting('clock') end
  for name, member in pairs(record.members) do
    if member.missing then
      member.missing = member.missing + gap
    elseif member.lease <= now then
      member.missing = gap > 0 and now or member.lease
      changed = true
    end
    if member.missing and now >= member.missing + member_timeout then
      give_up(name)
      changed = true
    end
  end
  if record.open_until > 0 and now >= record.open_until then
    record.open_until = 0
    doubting('closed')
    changed = true
  end
  return changed
end

-- Why nobody suppresses: 'history', 'missing', 'rules' or 'versions'; empty: they do.
local function openness()
  if record.open_until > 0 then return 'history' end
  local first
  for _, member in pairs(record.members) do
    if member.missing then return 'missing' end
    first = first or member
    if member.rules ~= first.rules then return 'rules' end
    if member.version ~= first.version then return 'versions' end
  end
  return ''
end

-- All that a claim rests on beside the channel itself.
local function stamp()
  local wide = {}
  for id in pairs(record.wide) do wide[#wide + 1] = id end
  table.sort(wide)
  return record.epoch .. '|' .. decimal(record.doubt) .. '|' .. openness() .. '|' .. table.concat(wide, ' ')
end

local function save()
  record.saved = now
  redis.call('SET', KEYS[1], cmsgpack.pack(record))
end

-- Why this server answers nobody.
local function unfit()
  if role ~= 'master' then return 'role' end
  if slaves > replicas then return 'replicas' end
end

-- Why this node may do nothing here but enter.
local function unentered()
  if not record or set_back or record.history ~= history or entered ~= history then return 'history' end
  local member = record.members[node]
  if not member then return 'unknown' end
  if member.generation ~= generation then return 'generation' end
  if member.missing or member.lease <= now then return 'lease' end
end
