-- Installs what people have decided for one app, unless a newer revision stands. Counters stay as they are.
-- An app that was not told before has lost its state, or never had one: it begins by learning. So does one to
-- which nobody has spoken for long, if its Redis is not the one that it was: that may have come back with an old
-- copy of its data.
-- keys: told
-- args: revision, fields and values (a flat JSON array), 'instead' to replace a newer revision too,
--       the time or '', the longest silence in microseconds, which run of which Redis this is, a new stamp
-- Answers 1 when installed, 0 when a newer revision stands.

local STEP = 500 -- unpack() has a limit

register('tell', function(keys, args)
  local told, now = keys[1], time_now(args[4])
  local key = prefix_of(told) .. 'state'
  local before, state = call('HMGET', told, 'revision', 'home'), call('GET', key)
  if state and before[1] and tonumber(before[1]) > tonumber(args[1]) and args[3] ~= 'instead' then
    return 0
  end
  local learning = pack('>d', 0) -- and nobody has the lease
  if state and before[1] then
    local beat = unpack_from(STATE, state, STATE_FROM)
    if now - beat <= tonumber(args[5]) or before[2] == args[6] then
      learning = sub(state, STATE_FROM + 8)
    end
  end
  call('DEL', told)
  call('HSET', told, 'revision', args[1], 'home', args[6])
  local decided = decode(args[2])
  for first = 1, #decided, STEP do
    call('HSET', told, spread(decided, first, min(first + STEP - 1, #decided)))
  end
  call('SET', key, args[7] .. pack('>d', now) .. learning)
  return 1
end)

-- Which revision one app was told, for whoever sees to it that it knows the newest. Asking is a sign of life:
-- a gate to which nobody speaks for long lets nothing through.
-- keys: told
-- args: the time or '', the longest silence in microseconds
-- Answers the revision, or '' when it must be told again.
register('told', function(keys, args)
  local now, key = time_now(args[1]), prefix_of(keys[1]) .. 'state'
  local revision, state = call('HGET', keys[1], 'revision'), call('GET', key)
  if not revision or not state or now - unpack_from(STATE, state, STATE_FROM) > tonumber(args[2]) then
    return ''
  end
  call('SETRANGE', key, int(STATE_FROM - 1), pack('>d', now))
  return revision
end)

-- Whether a WABA has a registered number, and with that Meta's large limit.
-- keys: told
-- args: the WABA, 1 if it has, a new stamp
-- Answers 1 if that is news.
register('activity', function(keys, args)
  local prefix = prefix_of(keys[1])
  local news = call(args[2] == '1' and 'SREM' or 'SADD', prefix .. 'inactive', args[1])
  if news == 1 and call('EXISTS', prefix .. 'state') == 1 then
    call('SETRANGE', prefix .. 'state', '0', args[3]) -- so that plans are made anew
  end
  return news
end)
