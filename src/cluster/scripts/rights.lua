#!lua
-- Which rights the user lacks, as they are written in an ACL. Nothing is written.
--
-- KEYS[1]  a key of the app
-- ARGV[1]  a channel of the app
local missing = {}
local function check(right, ...)
  if not redis.acl_check_cmd(...) then missing[#missing + 1] = right end
end

check('+info', 'INFO', 'replication')
check('+time', 'TIME')
check('+wait', 'WAIT', '0', '1')
check('+evalsha', 'EVALSHA', '0', '1', KEYS[1])
check('+get', 'GET', KEYS[1])
check('+set', 'SET', KEYS[1], '')
check('+del', 'DEL', KEYS[1])
check('+pttl', 'PTTL', KEYS[1])
check('+pexpire', 'PEXPIRE', KEYS[1], '1')
check('+scan', 'SCAN', '0')
check('+publish (with the channels)', 'PUBLISH', ARGV[1], '')
check('+subscribe (with the channels)', 'SUBSCRIBE', ARGV[1])
return missing
