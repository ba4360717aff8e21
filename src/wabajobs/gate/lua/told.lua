-- Which revision one app was told, for whoever sees to it that it knows the newest. Asking is a sign of life:
-- a gate to which nobody speaks for long lets nothing through (see tell.lua).
-- KEYS: told
-- ARGV: the time or '', the longest silence in microseconds
-- Answers the revision, or '' when it must be told again.

local now = time_now(ARGV[1])
local told = redis.call('HMGET', KEYS[1], 'revision', 'beat')
if not told[1] or now - num(told[2]) > tonumber(ARGV[2]) then
  return ''
end
redis.call('HSET', KEYS[1], 'beat', int(now))
return told[1]
