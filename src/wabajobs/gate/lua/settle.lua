-- What a call has taught: takes it off the wire, corrects the windows by Meta's headers, moves the breakers.
-- keys: told, wire, tripped (WABAs and numbers whose breaker is open), inactive, a window for each scope, then the
--       breakers (app, WABA, number, capability)
-- args: the rules (JSON), the time or '', the call as it stands on the wire (JSON), what else the permit and the
--       report say (JSON), the call's id, WABA or '', cost, who spends, how many windows there are, then their scopes
-- Answers {now, then for each breaker that changed: which, 'open' or 'closed', microseconds, evidence}

local SETTLE_SCOPE, SETTLE_WINDOW = 10, 5

local function changed(told, index, state, wait, evidence)
  local n = #told.changes
  told.changes[n + 1], told.changes[n + 2] = index, state
  told.changes[n + 3], told.changes[n + 4] = wait, evidence
end

local function note_tripped(told, index, open) -- so that a reader finds the few open ones among many
  local scope, key = told.call.scopes[index], told.keys[3]
  if kind_of(scope) == 'app' then
    return
  end
  if open then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', math.floor(told.now / 1000 - 4 * 86400000))
    redis.call('ZADD', key, math.floor(told.now / 1000), scope)
  else
    redis.call('ZREM', key, scope)
  end
end

local function open_breaker(told, index, breaker, evidence)
  trip(breaker, told.call.regain, evidence, told.rules, told.call.random, told.now)
  note_tripped(told, index, true)
  changed(told, index, 'open', breaker.til - told.now, evidence)
end

local function close_breaker(told, index, breaker)
  close(breaker, told.rules, told.now)
  note_tripped(told, index, false)
  changed(told, index, 'closed', 0, 'a probe succeeded')
end

local function end_probe(told, index, breaker, limited_here)
  local outcome = told.call.outcome
  if outcome == 'ok' then
    close_breaker(told, index, breaker)
  elseif limited_here or outcome == 'failed' then
    open_breaker(told, index, breaker, told.call.evidence)
  else -- not made, or a limit of another scope: nothing learnt about this one
    give_lease_back(breaker)
  end
end

local function count_outcome(told, index, breaker)
  local call, rules = told.call, told.rules
  if breaker.til > 0 or (call.outcome ~= 'ok' and call.outcome ~= 'failed') then
    return
  end
  local has_failed = call.outcome == 'failed' or call.slow
  local calls, failed = count_call(breaker, has_failed, rules, told.now)
  if has_failed and calls >= rules.failure_calls and failed >= calls * rules.failure_share then
    open_breaker(told, index, breaker, int(failed) .. ' of ' .. int(calls) .. ' calls failed, the last: ' .. call.evidence)
  end
end

local function settled_window(told, nth)
  local scope = told.args[SETTLE_SCOPE + nth - 1]
  local default
  if kind_of(scope) == 'waba' and redis.call('SISMEMBER', told.keys[4], told.waba) == 1 then
    default = told.rules.windows.inactive
  end
  local limit = redis.call('HGET', told.keys[1], 'limit:' .. scope)
  return look(told.keys[SETTLE_WINDOW + nth - 1], scope, limit, told.rules, told.now, default)
end

local function doubt_limit(told, index) -- a trip by a limit of ours that the header had not foretold
  local percent = told.call.percents[index]
  if percent and percent < 98 and told.call.scopes[index] == told.args[SETTLE_SCOPE + index - 1] then
    doubt(settled_window(told, index), told.rules, told.now)
  end
end

local function move_breaker(told, index, breaker)
  local call = told.call
  local is_current = call.epochs[index] == breaker.epoch or breaker.epoch == 0
  local limited_here = call.limited == index
  if is_current and breaker.til > 0 and breaker.tok == told.id then
    end_probe(told, index, breaker, limited_here)
  elseif limited_here and is_current and breaker.til == 0 then
    doubt_limit(told, index)
    open_breaker(told, index, breaker, call.evidence)
  elseif limited_here then -- it was on the wire when the breaker tripped
    extend(breaker, call.regain, told.rules, told.now)
  elseif is_current and index == #call.epochs then -- failures are counted for the capability
    count_outcome(told, index, breaker)
  end
end

local function must_move(call, index)
  return call.probes[index] == 1 or call.limited == index or index == #call.epochs
end

local function seed_window(told) -- the call that was let through to learn has answered
  local call, rules = told.call, told.rules
  local window, percent = settled_window(told, 1), call.percents[1]
  local used = window.limit * rules.learning_share
  if call.limited == 1 then
    used = window.limit
  elseif percent >= 0 then
    used = used_by(window, percent)
  end
  set_others(window, others_of(window, used, call.marks[1], told.now), call.seq, rules, told.now)
  redis.call('HDEL', told.keys[1], 'learning', 'lease', 'holder')
end

local function end_learning(told)
  local call = told.call
  if call.outcome == 'unused' then
    redis.call('HDEL', told.keys[1], 'lease', 'holder')
  elseif call.outcome == 'failed' and call.percents[1] < 0 then
    redis.call('HSET', told.keys[1], 'lease', (told.now + told.rules.retry), 'holder', '')
  else
    seed_window(told)
  end
end

local function is_learning(told)
  local known = redis.call('HMGET', told.keys[1], 'learning', 'holder')
  return known[1] and known[2] == told.id
end

local function give_back(told, only_plain) -- what was not made, or was turned away before it came to a small limit
  for nth, bucket in ipairs(told.call.buckets) do
    local window = bucket >= 0 and settled_window(told, nth)
    if window and (window.plain or not only_plain) then
      refund(window, bucket, told.cost, told.rules.paced and not window.plain, told.now)
    end
    if window and nth == 1 and not only_plain then
      local key = spent_key(told.keys[1], bucket * window.width, window.length)
      local who = told.args[8]
      if redis.call('HINCRBY', key, who, -told.cost) <= 0 then
        redis.call('HDEL', key, who)
      end
    end
  end
end

register('settle', function(keys, args)
  local told = {
    keys = keys, args = args, rules = decoded(args[1]), now = time_now(args[2]), call = cjson.decode(args[4]),
    id = args[5], waba = args[6], cost = tonumber(args[7]),
  }
  told.changes = {told.now}
  local call = told.call
  local was_on_wire = redis.call('ZREM', keys[2], args[3]) == 1
  if was_on_wire and call.outcome == 'unused' then
    give_back(told, false)
  elseif was_on_wire and (call.outcome == 'app_limit' or call.outcome == 'waba_limit') then
    give_back(told, true)
  end
  if is_learning(told) then
    end_learning(told)
  end
  for nth, percent in ipairs(call.percents) do
    if percent >= 0 then
      hear(settled_window(told, nth), percent, call.seq, call.marks[nth], told.rules, told.now)
    end
  end
  local last_window = SETTLE_WINDOW + tonumber(args[9]) - 1
  for index = 1, #call.epochs do
    if must_move(call, index) then
      move_breaker(told, index, breaker_at(keys[last_window + index]))
    end
  end
  return told.changes
end)
