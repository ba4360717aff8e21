-- Whole numbers and the time: what every script of the gate needs.
-- All times are microseconds, all numbers whole: tostring() of a large number would lose digits.

local SECOND = 1000000

local function int(number)
  return string.format('%.0f', number)
end

local function num(field) -- a field that is not there counts as 0
  return tonumber(field or 0) or 0
end

local function kind_of(scope) -- what a scope is about: app, waba, partner, register ...
  return string.match(scope, '^%a+')
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
