-- What every function of the gate needs: the standard library, the time, and the settings.
-- All times are microseconds, all numbers whole and below 2^53.

local SECOND = 1000000

-- Redis has no library yet while it loads functions, so these are found at the first call. As locals they are also
-- found faster at each later one.
local call, pack, unpack_from, spread, decode
local floor, ceil, max, min, abs, exp
local sub, match

local function find_library()
  call, pack, unpack_from, spread, decode = redis.call, struct.pack, struct.unpack, unpack, cjson.decode
  floor, ceil, max, min, abs, exp = math.floor, math.ceil, math.max, math.min, math.abs, math.exp
  sub, match = string.sub, string.match
end

local function register(name, body)
  redis.register_function(LIBRARY .. '_' .. name, function(keys, args)
    if not call then
      find_library()
    end
    return body(keys, args)
  end)
end

local function int(number) -- as text, with all its digits
  return string.format('%.0f', number)
end

local function time_now(given) -- the server's time, unless a test has a clock of its own
  if given ~= '' then
    return tonumber(given)
  end
  local time = call('TIME')
  return time[1] * SECOND + time[2]
end

-- All keys of an app begin alike and are in one hash slot: the one that a function is called with stands for them.
local function prefix_of(told)
  return sub(told, 1, -5)
end

-- Settings of one app, by the digest of their text. They are sent once, and again when Redis has been restarted:
-- whoever names a digest that is not known is told so.
local RULES_MOST = 200
local rules_of, rules_count = {}, 0

local function without_rules(digest)
  return redis.error_reply('NORULES ' .. digest)
end

register('learn', function(keys, args)
  if rules_count >= RULES_MOST then
    rules_of, rules_count = {}, 0
  end
  local rules = decode(args[2])
  rules.young, rules.old, rules.plans, rules.limits = {}, {}, 0, {}
  rules_of[args[1]], rules_count = rules, rules_count + 1
  return 1
end)
