-- Whole numbers, the time, and what is decoded once: what every function of the gate needs.
-- All times are microseconds, all numbers whole and below 2^53: so Redis writes them with all their digits, whether
-- they are arguments of a command or answers. tostring() would lose some: text is made with int().

local SECOND = 1000000
local DECODED_MOST = 2000

local decoded_texts, decoded_count = {}, 0
local kinds, kind_count = {}, 0

local function int(number)
  return string.format('%.0f', number)
end

local function num(field) -- a field that is not there counts as 0
  return tonumber(field or 0) or 0
end

-- JSON that comes again and again, such as the settings: it is read once. Who gets it must not change it.
local function decoded(text)
  local found = decoded_texts[text]
  if not found then
    if decoded_count >= DECODED_MOST then
      decoded_texts, decoded_count = {}, 0
    end
    found = cjson.decode(text)
    decoded_texts[text], decoded_count = found, decoded_count + 1
  end
  return found
end

local function kind_of(scope) -- what a scope is about: app, waba, partner, register ...
  local kind = kinds[scope]
  if not kind then
    if kind_count >= DECODED_MOST then
      kinds, kind_count = {}, 0
    end
    kind = string.match(scope, '^%a+')
    kinds[scope], kind_count = kind, kind_count + 1
  end
  return kind
end

-- Who used an app's budget is counted in twelve parts of the window, each a hash of its own.
local function spent_key(told, moment, length)
  local key = string.gsub(told, 'told$', 'spent:' .. int(math.floor(moment * 12 / length)))
  return key
end

local function time_now(given) -- the server's time, unless a test has a clock of its own
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * SECOND + tonumber(time[2])
end
