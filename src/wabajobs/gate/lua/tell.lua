-- Installs what people have decided for one app, unless a newer revision stands. Counters stay as they are.
-- An app that was not told before has lost its state, or never had one: it begins by learning. So does one to
-- which nobody has spoken for long: its Redis may have come back with an old copy of its data.
-- KEYS: told
-- ARGV: revision, fields and values (a flat JSON array), 'instead' to replace a newer revision too,
--       the time or '', the longest silence in microseconds
-- Answers 1 when installed, 0 when a newer revision stands.

local STEP = 500 -- unpack() has a limit

local now = time_now(ARGV[4])
local before = redis.call('HMGET', KEYS[1], 'revision', 'learning', 'lease', 'holder', 'beat')
if before[1] and tonumber(before[1]) > tonumber(ARGV[1]) and ARGV[3] ~= 'instead' then
  return 0
end
local was_silent = now - num(before[5]) > tonumber(ARGV[5])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'beat', int(now))
if not before[1] or was_silent then
  redis.call('HSET', KEYS[1], 'learning', '1')
elseif before[2] then
  redis.call('HSET', KEYS[1], 'learning', '1', 'lease', before[3] or '0', 'holder', before[4] or '')
end
local decided = cjson.decode(ARGV[2])
for first = 1, #decided, STEP do
  redis.call('HSET', KEYS[1], unpack(decided, first, math.min(first + STEP - 1, #decided)))
end
return 1
