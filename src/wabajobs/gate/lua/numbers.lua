-- Whole numbers and the time: what every script of the gate needs.
-- All times are microseconds, all numbers whole: tostring() of a large number would lose digits.

local SECOND = 1000000

local function int(number)
  return string.format('%.0f', number)
end

local function num(field) -- a field that is not there counts as 0
  return tonumber(field or 0) or 0
end

local function time_now(given) -- the server's time, unless a test has a clock of its own
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * SECOND + tonumber(time[2])
end
