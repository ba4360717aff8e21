-- Installs what people have decided for one app, unless a newer revision stands. Counters stay as they are.
-- An app that was not told before has lost its state, or never had one: it begins by learning. So does one to
-- which nobody has spoken for long, if its Redis is not the one that it was: that may have come back with an old
-- copy of its data.
-- keys: told
-- args: revision, fields and values (a flat JSON array), 'instead' to replace a newer revision too,
--       the time or '', the longest silence in microseconds, which run of which Redis this is
-- Answers 1 when installed, 0 when a newer revision stands.

local STEP = 500 -- unpack() has a limit

register('tell', function(keys, args)
  local now = time_now(args[4])
  local before = redis.call('HMGET', keys[1], 'revision', 'learning', 'lease', 'holder', 'beat', 'home')
  if before[1] and tonumber(before[1]) > tonumber(args[1]) and args[3] ~= 'instead' then
    return 0
  end
  local may_be_old = now - num(before[5]) > tonumber(args[5]) and before[6] ~= args[6]
  redis.call('DEL', keys[1])
  redis.call('HSET', keys[1], 'revision', args[1], 'beat', now, 'home', args[6])
  if not before[1] or may_be_old then
    redis.call('HSET', keys[1], 'learning', '1')
  elseif before[2] then
    redis.call('HSET', keys[1], 'learning', '1', 'lease', before[3] or '0', 'holder', before[4] or '')
  end
  local decided = cjson.decode(args[2])
  for first = 1, #decided, STEP do
    redis.call('HSET', keys[1], unpack(decided, first, math.min(first + STEP - 1, #decided)))
  end
  return 1
end)

-- Which revision one app was told, for whoever sees to it that it knows the newest. Asking is a sign of life:
-- a gate to which nobody speaks for long lets nothing through.
-- keys: told
-- args: the time or '', the longest silence in microseconds
-- Answers the revision, or '' when it must be told again.
register('told', function(keys, args)
  local now = time_now(args[1])
  local told = redis.call('HMGET', keys[1], 'revision', 'beat')
  if not told[1] or now - num(told[2]) > tonumber(args[2]) then
    return ''
  end
  redis.call('HSET', keys[1], 'beat', now)
  return told[1]
end)
