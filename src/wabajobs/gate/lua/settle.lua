-- What a call has taught: takes it off the wire, corrects the windows by Meta's headers, moves the breakers.
-- KEYS: told, wire, tripped (WABAs and numbers whose breaker is open), inactive, a window for each scope, then the
--       breakers (app, WABA, number, capability)
-- ARGV: the rules (JSON), the time or '', the call as it stands on the wire (JSON),
--       what else the permit and the report say (JSON), how many windows there are, then their scopes
-- Answers {now, then for each breaker that changed: which, 'open' or 'closed', microseconds, evidence}

local FIRST_SCOPE, FIRST_WINDOW = 6, 5

local rules, now = cjson.decode(ARGV[1]), time_now(ARGV[2])
local id, _, _, queue, partner, waba, _, cost = unpack(cjson.decode(ARGV[3]))
local call = cjson.decode(ARGV[4])
rules.random = call.random
local last_window = FIRST_WINDOW + tonumber(ARGV[5]) - 1
local changes = {int(now)}

local function changed(index, state, wait, evidence)
  local n = #changes
  changes[n + 1], changes[n + 2], changes[n + 3], changes[n + 4] = int(index), state, int(wait), evidence
end

local function note_tripped(index, open) -- so that a reader finds the few open ones among many
  local scope = call.scopes[index]
  if kind_of(scope) == 'app' then
    return
  end
  if open then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', int(now / 1000 - 4 * 86400000))
    redis.call('ZADD', KEYS[3], int(now / 1000), scope)
  else
    redis.call('ZREM', KEYS[3], scope)
  end
end

local function open_breaker(index, breaker, evidence)
  trip(breaker, call.regain, evidence, rules, now)
  note_tripped(index, true)
  changed(index, 'open', breaker.til - now, evidence)
end

local function close_breaker(index, breaker)
  close(breaker, rules, now)
  note_tripped(index, false)
  changed(index, 'closed', 0, 'a probe succeeded')
end

local function end_probe(index, breaker, limited_here)
  if call.outcome == 'ok' then
    close_breaker(index, breaker)
  elseif limited_here or call.outcome == 'failed' then
    open_breaker(index, breaker, call.evidence)
  else -- not made, or a limit of another scope: nothing learnt about this one
    give_lease_back(breaker)
  end
end

local function count_outcome(index, breaker)
  if breaker.til or (call.outcome ~= 'ok' and call.outcome ~= 'failed') then
    return
  end
  local has_failed = call.outcome == 'failed' or call.slow
  count_call(breaker, has_failed, rules, now)
  if not has_failed then
    return
  end
  local calls, failed = failures(breaker)
  if calls >= rules.failure_calls and failed >= calls * rules.failure_share then
    open_breaker(index, breaker, int(failed) .. ' of ' .. int(calls) .. ' calls failed, the last: ' .. call.evidence)
  end
end

local function window_at(nth)
  local scope = ARGV[FIRST_SCOPE + nth - 1]
  if kind_of(scope) == 'waba' and redis.call('SISMEMBER', KEYS[4], waba) == 1 then
    rules.windows.waba = rules.windows.inactive
  end
  return look(KEYS[FIRST_WINDOW + nth - 1], scope, redis.call('HGET', KEYS[1], 'limit:' .. scope), rules, now)
end

local function doubt_limit(index) -- a trip by a limit of ours that the header had not foretold
  local percent = call.percents[index]
  if percent and percent < 98 and call.scopes[index] == ARGV[FIRST_SCOPE + index - 1] then
    doubt(window_at(index), now)
  end
end

local function move_breaker(index, breaker)
  local is_current = call.epochs[index] == breaker.epoch or breaker.epoch == 0
  local limited_here = call.limited == index
  if is_current and breaker.til and breaker.tok == id then
    end_probe(index, breaker, limited_here)
  elseif limited_here and is_current and not breaker.til then
    doubt_limit(index)
    open_breaker(index, breaker, call.evidence)
  elseif limited_here then -- it was on the wire when the breaker tripped
    extend(breaker, call.regain, rules, now)
  elseif is_current and index == #call.epochs then -- failures are counted for the capability
    count_outcome(index, breaker)
  end
end

local function must_move(index)
  return call.probes[index] == 1 or call.limited == index or index == #call.epochs
end

local function seed_window() -- the call that was let through to learn has answered
  local window, percent = window_at(1), call.percents[1]
  local used = window.limit * rules.learning_share
  if call.limited == 1 then
    used = window.limit
  elseif percent >= 0 then
    used = used_by(window, percent)
  end
  set_others(window, others_of(window, used, call.marks[1], now), call.seq, rules, now)
  redis.call('HDEL', KEYS[1], 'learning', 'lease', 'holder')
end

local function end_learning()
  if call.outcome == 'unused' then
    redis.call('HDEL', KEYS[1], 'lease', 'holder')
  elseif call.outcome == 'failed' and call.percents[1] < 0 then
    redis.call('HSET', KEYS[1], 'lease', int(now + rules.retry), 'holder', '')
  else
    seed_window()
  end
end

local function is_learning()
  local told = redis.call('HMGET', KEYS[1], 'learning', 'holder')
  return told[1] and told[2] == id
end

local function give_back(only_plain) -- what was not made, or was turned away before it came to a small limit
  for nth, bucket in ipairs(call.buckets) do
    local window = bucket >= 0 and window_at(nth)
    if window and (window.plain or not only_plain) then
      refund(window, bucket, cost, rules.paced and not window.plain)
    end
    if window and nth == 1 and not only_plain then
      local key = spent_key(KEYS[1], bucket * window.width, window.length)
      if redis.call('HINCRBY', key, queue .. '|' .. partner .. '|' .. waba, -cost) <= 0 then
        redis.call('HDEL', key, queue .. '|' .. partner .. '|' .. waba)
      end
    end
  end
end

local was_on_wire = redis.call('ZREM', KEYS[2], ARGV[3]) == 1
if was_on_wire and call.outcome == 'unused' then
  give_back(false)
elseif was_on_wire and (call.outcome == 'app_limit' or call.outcome == 'waba_limit') then
  give_back(true)
end
if is_learning() then
  end_learning()
end
for nth, percent in ipairs(call.percents) do
  if percent >= 0 then
    hear(window_at(nth), percent, call, call.marks[nth], rules, now)
  end
end
for index = 1, #call.epochs do
  if must_move(index) then
    move_breaker(index, breaker_at(KEYS[last_window + index]))
  end
end
return changes
