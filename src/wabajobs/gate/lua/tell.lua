-- Installs what people have decided for one app, unless a newer revision stands. Counters stay as they are.
-- An app that was not told before has lost its state, or never had one: it begins by learning.
-- KEYS: told
-- ARGV: revision, fields and values (a flat JSON array), 'instead' to replace a newer revision too
-- Answers 1 when installed, 0 when a newer revision stands.

local STEP = 500 -- unpack() has a limit

local before = redis.call('HMGET', KEYS[1], 'revision', 'learning', 'lease', 'holder')
if before[1] and tonumber(before[1]) > tonumber(ARGV[1]) and ARGV[3] ~= 'instead' then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', ARGV[1])
if not before[1] then
  redis.call('HSET', KEYS[1], 'learning', '1')
elseif before[2] then
  redis.call('HSET', KEYS[1], 'learning', '1', 'lease', before[3] or '0', 'holder', before[4] or '')
end
local decided = cjson.decode(ARGV[2])
for first = 1, #decided, STEP do
  redis.call('HSET', KEYS[1], unpack(decided, first, math.min(first + STEP - 1, #decided)))
end
return 1
