-- May this call be made now? Grants it, and charges every window, or refuses it and writes nothing.
-- KEYS: told, wire, inactive, then a window for each scope, then the breakers (app, WABA, number, capability)
-- ARGV: the rules (JSON), the time or '', the call as it stands on the wire (JSON), '' or
--       'forecast' to be told what would be answered without taking anything, how many windows there are,
--       then the windows' scopes and the breakers' scopes
-- Answers {1, order, bucket and mark of each window or -1 -1, epoch and probe of each breaker}
--      or {0, what refused, microseconds or -1, which of its kind, details ...}

local NEVER = math.huge
local FIRST_SCOPE, FIRST_WINDOW, PAUSES = 6, 4, 6

local rules, now = cjson.decode(ARGV[1]), time_now(ARGV[2])
local id, app, capability, queue, partner, waba, _, cost = unpack(cjson.decode(ARGV[3]))
local scopes = tonumber(ARGV[5])
local first_breaker = FIRST_WINDOW + scopes
local has_waba = waba ~= ''

local function read_told()
  local fields = {'revision', 'learning', 'lease', 'holder', 'beat', 'pause:all', 'pause:app:' .. app,
    'pause:capability:' .. capability, 'pause:queue:' .. queue, 'pause:partner:' .. partner, 'pause:waba:' .. waba}
  for i = FIRST_SCOPE, #ARGV do
    fields[#fields + 1] = (i < FIRST_SCOPE + scopes and 'limit:' or 'breaker:') .. ARGV[i]
  end
  return redis.call('HMGET', KEYS[1], unpack(fields))
end

local function longest_pause(told)
  local longest, holds = 0, nil
  for i = PAUSES, PAUSES + (has_waba and 5 or 4) do
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

local function look_at_breakers(told)
  local breakers = {}
  for i = first_breaker, #KEYS do
    local breaker = breaker_at(KEYS[i])
    breakers[#breakers + 1] = breaker
    local said = told[PAUSES + 5 + scopes + #breakers]
    local override = said and cjson.decode(said)
    local wait, kind = stands(breaker, id, override, rules, now)
    if kind == 'held' then
      refused(wait, kind, #breakers, override[3], '0')
    elseif wait > 0 then
      refused(wait, kind, #breakers, breaker.evidence, int(breaker.at))
      stand_in_line(breaker, rules, now)
    end
  end
  return breakers
end

local function slowed_by(window, breakers) -- each of Meta's limits on calls has a breaker
  local breaker = window.kind == 'app' and breakers[1] or window.kind == 'waba' and breakers[2]
  if breaker and breaker.due then
    window.height = 1 -- a ceiling in doubt must not keep the probe back whose header may end the doubt
  end
  return breaker and slowness(breaker, rules, now) or 1
end

local function look_at_windows(told, breakers)
  local windows = {}
  if has_waba and redis.call('SISMEMBER', KEYS[3], waba) == 1 then
    rules.windows.waba = rules.windows.inactive
  end
  for nth = 1, scopes do
    local window = look(KEYS[FIRST_WINDOW + nth - 1], ARGV[FIRST_SCOPE + nth - 1], told[PAUSES + 5 + nth], rules, now)
    windows[nth] = window or false
    if window then
      local wait, kind = judge(window, cost, rules, slowed_by(window, breakers), now)
      if window.shadow then
        window.would_refuse = wait ~= 0
      else
        refused(wait or NEVER, kind, nth, int(window.sum), int(window.others), int(window.usable))
      end
    end
  end
  return windows
end

local function note_spender(window) -- who used how much, in twelve parts of the window
  local key = spent_key(KEYS[1], window.bucket * window.width, window.length)
  if redis.call('HINCRBY', key, queue .. '|' .. partner .. '|' .. waba, cost) == cost then
    redis.call('PEXPIRE', key, int(2 * window.length / 1000))
  end
end

local function grant(told, windows, breakers)
  local charges = {}
  for _, window in ipairs(windows) do
    if window then
      charge(window, cost, rules, now)
      if window.would_refuse then
        redis.call('HINCRBY', window.key, 'sh', int(cost))
      end
    end
    charges[#charges + 1] = window and int(window.bucket) or '-1'
    charges[#charges + 1] = window and int(window.charged) or '-1'
  end
  local answer = {1, int(windows[1].charged), unpack(charges)}
  for _, breaker in ipairs(breakers) do
    if breaker.due then
      take_lease(breaker, id, rules, now)
    end
    answer[#answer + 1], answer[#answer + 2] = int(breaker.epoch), breaker.due and 1 or 0
  end
  if told[2] then
    redis.call('HSET', KEYS[1], 'lease', int(now + rules.lease), 'holder', id)
  end
  note_spender(windows[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int((now - 2 * rules.lease) / 1000))
  redis.call('ZADD', KEYS[2], int(now / 1000), ARGV[3])
  return answer
end

local told = read_told()
if not told[1] then
  return {0, 'untold', int(rules.retry), '0'}
end
if now - num(told[5]) > rules.silence then
  return {0, 'silent', int(rules.retry), '0'}
end
local left, pause = longest_pause(told)
if pause then
  return {0, 'pause', left == NEVER and '-1' or int(left), '0', pause[4], pause[2], pause[3]}
end
look_at_learning(told)
local breakers = look_at_breakers(told)
local windows = look_at_windows(told, breakers)
if worst.wait > 0 then
  return answer_refusal()
end
if ARGV[4] == 'forecast' then
  return {1}
end
return grant(told, windows, breakers)
