-- May this call be made now? Grants it, and charges every window, or refuses it and charges nothing.
-- keys: told, wire, inactive, then a window for each scope, then the breakers (app, WABA, number, capability)
-- args: the rules (JSON), the time or '', 'forecast' to be told what would be answered without taking anything, or
--       '', the call as it stands on the wire (JSON), its id, WABA or '', cost, who spends ('queue|partner|waba'), how
--       many windows there are, the windows' scopes, then what people may have decided of it, as fields of `told`:
--       pauses (six with a WABA, five without), a limit for each window, an override for each breaker
-- Answers {1, bucket and mark of each window or -1 -1, epoch and probe of each breaker}
--      or {0, what refused, microseconds or -1, which of its kind, details ...}

local NEVER = 1 / 0
local FIRST_SCOPE, FIRST_WINDOW, KNOWN = 10, 4, 5

local function read_told(ask)
  return redis.call('HMGET', ask.keys[1], 'revision', 'learning', 'lease', 'holder', 'beat',
    unpack(ask.args, FIRST_SCOPE + ask.scopes))
end

local function longest_pause(ask)
  local longest, holds = 0, nil
  for i = KNOWN + 1, KNOWN + ask.pauses do
    if ask.told[i] then
      for _, pause in ipairs(decoded(ask.told[i])) do
        local left = pause[1] == 0 and NEVER or pause[1] * 1000 - ask.now
        if left > longest then
          longest, holds = left, pause
        end
      end
    end
  end
  return longest, holds
end

local function refused(ask, wait, kind, index, ...)
  if wait > ask.wait then
    ask.wait, ask.kind, ask.index, ask.details = wait, kind, index, {...}
  end
end

local function answer_refusal(ask)
  local wait = ask.wait == NEVER and '-1' or ask.wait
  return {0, ask.kind, wait, ask.index, unpack(ask.details)}
end

local function look_at_learning(ask)
  local lease = num(ask.told[3])
  if ask.told[2] and lease > ask.now and ask.told[4] ~= ask.id then
    refused(ask, math.min(lease - ask.now, ask.rules.retry), 'learning', 0)
  end
end

local function look_at_breakers(ask)
  local breakers = {}
  for i = FIRST_WINDOW + ask.scopes, #ask.keys do
    local breaker = breaker_at(ask.keys[i])
    local nth = #breakers + 1
    breakers[nth] = breaker
    local said = ask.told[KNOWN + ask.pauses + ask.scopes + nth]
    local override = said and decoded(said)
    local wait, kind = stands(breaker, ask.id, override, ask.rules, ask.now)
    if kind == 'held' then
      refused(ask, wait, kind, nth, override[3], '0')
    elseif wait > 0 then
      refused(ask, wait, kind, nth, breaker.evidence, breaker.at)
      stand_in_line(breaker, ask.rules, ask.now)
    end
  end
  return breakers
end

local function slowed_by(window, breakers, rules, now) -- each of Meta's limits on calls has a breaker
  local breaker = window.kind == 'app' and breakers[1] or window.kind == 'waba' and breakers[2]
  if not breaker then
    return 1
  end
  if breaker.due then
    window.height = 1 -- a ceiling in doubt must not keep the probe back whose header may end the doubt
  end
  return slowness(breaker, rules, now)
end

local function look_at_windows(ask, breakers)
  local windows, rules, now = {}, ask.rules, ask.now
  local is_inactive = ask.waba ~= '' and redis.call('SISMEMBER', ask.keys[3], ask.waba) == 1
  for nth = 1, ask.scopes do
    local default = is_inactive and nth == 2 and rules.windows.inactive or nil
    local window = look(ask.keys[FIRST_WINDOW + nth - 1], ask.args[FIRST_SCOPE + nth - 1], ask.told[KNOWN + ask.pauses + nth],
      rules, now, default)
    windows[nth] = window or false
    if window then
      local wait, kind = judge(window, ask.cost, rules, slowed_by(window, breakers, rules, now), now)
      if window.shadow then
        window.would_refuse = wait ~= 0
      elseif wait ~= 0 then
        refused(ask, wait or NEVER, kind, nth, window.sum, window.others, window.usable)
      end
    end
  end
  return windows
end

local function note_spender(ask, window) -- who used how much, in twelve parts of the window
  local key = spent_key(ask.keys[1], window.bucket * window.width, window.length)
  if redis.call('HINCRBY', key, ask.args[8], ask.cost) == ask.cost then
    redis.call('PEXPIRE', key, math.floor(2 * window.length / 1000))
  end
end

local function grant(ask, windows, breakers)
  local answer = {1}
  for _, window in ipairs(windows) do
    if window then
      charge(window, ask.cost, ask.rules, ask.now)
      if window.would_refuse then
        redis.call('HINCRBY', window.key, 'sh', ask.cost)
      end
    end
    answer[#answer + 1] = window and window.bucket or -1
    answer[#answer + 1] = window and window.charged or -1
  end
  for _, breaker in ipairs(breakers) do
    if breaker.due then
      take_lease(breaker, ask.id, ask.rules, ask.now)
    end
    answer[#answer + 1], answer[#answer + 2] = breaker.epoch, breaker.due and 1 or 0
  end
  if ask.told[2] then
    redis.call('HSET', ask.keys[1], 'lease', (ask.now + ask.rules.lease), 'holder', ask.id)
  end
  note_spender(ask, windows[1])
  if ask.now % 64 == 0 then -- lost calls leave the wire now and then
    redis.call('ZREMRANGEBYSCORE', ask.keys[2], '-inf', math.floor((ask.now - 2 * ask.rules.lease) / 1000))
  end
  redis.call('ZADD', ask.keys[2], math.floor(ask.now / 1000), ask.args[4])
  return answer
end

register('admit', function(keys, args)
  local ask = {
    keys = keys, args = args, rules = decoded(args[1]), now = time_now(args[2]), id = args[5], waba = args[6],
    cost = tonumber(args[7]), scopes = tonumber(args[9]), pauses = args[6] == '' and 5 or 6, wait = 0,
  }
  ask.told = read_told(ask)
  if not ask.told[1] then
    return {0, 'untold', ask.rules.retry, '0'}
  end
  if ask.now - num(ask.told[5]) > ask.rules.silence then
    return {0, 'silent', ask.rules.retry, '0'}
  end
  local left, pause = longest_pause(ask)
  if pause then
    return {0, 'pause', left == NEVER and '-1' or left, '0', pause[4], pause[2], pause[3]}
  end
  look_at_learning(ask)
  local breakers = look_at_breakers(ask)
  local windows = look_at_windows(ask, breakers)
  if ask.wait > 0 then
    return answer_refusal(ask)
  end
  if args[3] == 'forecast' then
    return {1}
  end
  return grant(ask, windows, breakers)
end)
