-- May this call be made now? Grants it, and charges every window, or refuses it and writes nothing.
-- KEYS: told, wire, then the windows (app, WABA), then the breakers (app, WABA, capability)
-- ARGV: the rules (JSON), the time or '', the call as it stands on the wire (JSON),
--       'forecast' to be told what would be answered, without taking anything
-- Answers {1, order, bucket and mark of each window, epoch and probe of each breaker}
--      or {0, what refused, microseconds or -1, which of its kind, details ...}

local NEVER = math.huge

local rules, now = cjson.decode(ARGV[1]), time_now(ARGV[2])
local id, app, capability, queue, partner, waba, _, cost = unpack(cjson.decode(ARGV[3]))
local has_waba = waba ~= ''

local function read_told()
  local fields = {'revision', 'learning', 'lease', 'holder', 'limit:app:' .. app, 'limit:waba:' .. app .. ':' .. waba,
    'pause:all', 'pause:app:' .. app, 'pause:capability:' .. capability, 'pause:queue:' .. queue,
    'pause:partner:' .. partner, 'pause:waba:' .. waba}
  local last = has_waba and #fields or #fields - 1
  return redis.call('HMGET', KEYS[1], unpack(fields, 1, last))
end

local function longest_pause(told)
  local longest, holds = 0, nil
  for i = 7, #told do
    for _, pause in ipairs(told[i] and cjson.decode(told[i]) or {}) do
      local left = pause[1] == 0 and NEVER or pause[1] * 1000 - now
      if left > longest then
        longest, holds = left, pause
      end
    end
  end
  return longest, holds
end

local worst = {wait = 0}

local function refused(wait, kind, index, ...)
  if wait > worst.wait then
    worst = {wait = wait, kind = kind, index = index, details = {...}}
  end
end

local function answer_refusal()
  local wait = worst.wait == NEVER and '-1' or int(worst.wait)
  return {0, worst.kind, wait, int(worst.index), unpack(worst.details)}
end

local function look_at_learning(told)
  local lease = num(told[3])
  if told[2] and lease > now and told[4] ~= id then
    refused(math.min(lease - now, rules.retry), 'learning', 0)
  end
end

local function look_at_breakers(first)
  local breakers = {}
  for i = first, #KEYS do
    local breaker = breaker_at(KEYS[i])
    breakers[#breakers + 1] = breaker
    local wait, kind = stands(breaker, id, rules, now)
    refused(wait, kind, #breakers, breaker.evidence, int(breaker.at))
  end
  return breakers
end

local function look_at_windows(told, last, breakers)
  local windows = {}
  for i = 3, last do
    local nth = i - 2
    local window = look(KEYS[i], told[4 + nth], rules.windows[nth], rules, now)
    windows[nth] = window
    local wait, kind = judge(window, cost, rules, slowness(breakers[nth], rules, now), now)
    refused(wait or NEVER, kind, nth, int(window.sum), int(window.others), int(window.usable))
  end
  return windows
end

local function grant(told, windows, breakers)
  for _, window in ipairs(windows) do
    charge(window, cost, rules, now)
  end
  local answer = {1, int(windows[1].charged)}
  for _, window in ipairs(windows) do
    answer[#answer + 1], answer[#answer + 2] = int(window.bucket), int(window.charged)
  end
  for _, breaker in ipairs(breakers) do
    if breaker.due then
      take_lease(breaker, id, rules, now)
    end
    answer[#answer + 1], answer[#answer + 2] = int(breaker.epoch), breaker.due and 1 or 0
  end
  if told[2] then
    redis.call('HSET', KEYS[1], 'lease', int(now + rules.lease), 'holder', id)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int((now - 2 * rules.lease) / 1000))
  redis.call('ZADD', KEYS[2], int(now / 1000), ARGV[3])
  return answer
end

local told = read_told()
if not told[1] then
  return {0, 'untold', int(rules.retry), '0'}
end
local left, pause = longest_pause(told)
if pause then
  return {0, 'pause', left == NEVER and '-1' or int(left), '0', pause[4], pause[2], pause[3]}
end
look_at_learning(told)
local last_window = has_waba and 4 or 3
local breakers = look_at_breakers(last_window + 1)
local windows = look_at_windows(told, last_window, breakers)
if worst.wait > 0 then
  return answer_refusal()
end
if ARGV[4] == 'forecast' then
  return {1}
end
return grant(told, windows, breakers)
