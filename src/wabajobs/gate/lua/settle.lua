-- What a call has taught: takes it off the wire, corrects the windows by Meta's headers, moves the breakers.
-- keys: told
-- args: digest of the rules, the call's shape (JSON), the time or '', its id, how it stands on the wire, its ticket, the
--       outcome, the app's percent and the WABA's or -1, time to regain access in microseconds or 0, 1 if it was
--       slow, a random number below 1, evidence
-- Answers {now, then for each breaker that changed: its scope, 'open' or 'closed', microseconds, evidence}

local PROBES, SEQ, BUCKETS = 1, 2, 3
local HANDED_ON = 5 -- in the time after which to ask again: for who was first in line to be taken for gone, and more

-- A call that is settled, with all that belongs to it.
local function settled_call(rules, plan, found, args, now)
  return {
    rules = rules, plan = plan, found = found, now = now, id = args[4], ticket = {unpack_from(plan.ticket_format, args[6])},
    outcome = args[7], percents = {tonumber(args[8]), tonumber(args[9])}, regain = tonumber(args[10]), slow = args[11] == '1',
    random = args[12], evidence = args[13], windows = {}, changes = {now},
  }
end

local function epoch_of(told, nth)
  return told.ticket[BUCKETS + #told.plan.scopes + nth]
end

-- Which of the call's breakers a limit error names; 0 for none. A limit of a WABA or a number that the call did not
-- name can only be laid at the capability's door.
local function limited_breaker(outcome, plan)
  local last = #plan.breakers
  if outcome == 'app_limit' then
    return 1
  elseif outcome == 'waba_limit' then
    return plan.has_waba and 2 or last
  elseif outcome == 'number_limit' then
    return plan.has_number and last - 1 or last
  end
  return outcome == 'capability_limit' and last or 0
end

local function settled_window(told, nth) -- of the plan's windows
  local window = told.windows[nth]
  if not window then
    local at = 1 + #told.plan.breakers + nth
    window = looked[nth]
    look(window, told.plan.keys[at], told.plan.limits[nth], told.found[at], told.rules, told.now)
    told.windows[nth] = window
  end
  return window
end

local function changed(told, nth, state, wait, evidence)
  local changes = told.changes
  local n = #changes
  changes[n + 1], changes[n + 2], changes[n + 3], changes[n + 4] = told.plan.breakers[nth], state, wait, evidence
end

local function note_tripped(told, nth, open) -- so that a reader finds the few open ones among many
  local scope, key = told.plan.breakers[nth], told.plan.prefix .. 'tripped'
  if match(scope, '^app:') then
    return
  end
  if open then
    call('ZREMRANGEBYSCORE', key, '-inf', floor(told.now / 1000 - 4 * 86400000))
    call('ZADD', key, floor(told.now / 1000), scope)
  else
    call('ZREM', key, scope)
  end
end

local function failures_key(told)
  return told.plan.keys[told.plan.asked + 1]
end

local function window_of(told, index) -- the limit of Meta's whose breaker that is
  for nth, limit in ipairs(told.plan.limits) do
    if limit.breaker == index then
      return settled_window(told, nth)
    end
  end
end

-- At 212 % a probe is refused until more than half of the calls have left Meta's window: ours, and others' alike.
local function in_vain(told, index)
  local percent = told.percents[index] or 0
  local window = percent > 100 and window_of(told, index)
  return window and past_limit(window, percent, told.now) or 0
end

local function open_breaker(told, nth, breaker, evidence)
  trip(breaker, told.regain, in_vain(told, nth), evidence, told.rules, told.random, told.now)
  if nth == #told.plan.breakers then
    call('DEL', failures_key(told))
  end
  note_tripped(told, nth, true)
  changed(told, nth, 'open', breaker.til - told.now, evidence)
end

local function end_probe(told, nth, breaker, limited_here)
  if told.outcome == 'ok' then
    close(breaker, told.rules, told.now)
    note_tripped(told, nth, false)
    changed(told, nth, 'closed', 0, 'a probe succeeded')
  elseif limited_here or told.outcome == 'failed' then
    open_breaker(told, nth, breaker, told.evidence)
  else -- not made, or a limit of another scope: nothing learnt about this one
    give_lease_back(breaker, told.rules, told.now)
  end
end

local function count_outcome(told, nth, breaker)
  local rules = told.rules
  local has_failed = told.outcome == 'failed' or told.slow
  if breaker.til > 0 or not (has_failed or told.outcome == 'ok') then
    return
  end
  local calls, failed = count_call(failures_key(told), told.found[told.plan.asked + 1], has_failed, rules, told.now)
  if has_failed and calls >= rules.failure_calls and failed >= calls * rules.failure_share then
    open_breaker(told, nth, breaker, int(failed) .. ' of ' .. int(calls) .. ' calls failed, the last: ' .. told.evidence)
  end
end

local function doubt_limit(told, index) -- a trip by a limit of ours that the header had not foretold
  local window = (told.percents[index] or 100) < 98 and window_of(told, index)
  if window then
    doubt(window, told.now)
  end
end

local function move_breaker(told, nth, breaker, limited_here)
  local is_current = epoch_of(told, nth) == breaker.epoch or breaker.epoch == 0
  if is_current and breaker.til > 0 and breaker.tok == told.id then
    end_probe(told, nth, breaker, limited_here)
  elseif limited_here and is_current and breaker.til == 0 then
    doubt_limit(told, nth)
    open_breaker(told, nth, breaker, told.evidence)
  elseif limited_here then -- it was on the wire when the breaker tripped
    extend(breaker, told.regain, told.rules, told.now)
  elseif is_current and nth == #told.plan.breakers then -- failures are counted for the capability
    count_outcome(told, nth, breaker)
  end
end

local function probed(told, nth)
  return floor(told.ticket[PROBES] / 2 ^ (nth - 1)) % 2 == 1
end

-- Meta may limit the app in one part of its API only, and say so with the code for all of it. So a refused probe of the
-- app shuts its capability, too, and for longer: the next probe is another's, if there is one, and shows whether the
-- rest is well. And a refused probe of the capability alone, while the app is well, says nothing of the app.
local function move_breakers(told)
  local limited, last = limited_breaker(told.outcome, told.plan), #told.plan.breakers
  local also = 0
  if limited == 1 and told.outcome == 'app_limit' then
    if probed(told, 1) then
      also = last
    elseif probed(told, last) then
      limited = last
    end
  end
  for nth = 1, last do
    local limited_here = limited == nth or also == nth
    if probed(told, nth) or limited_here or nth == last then
      local breaker = breaker_at(told.plan.keys[1 + nth], told.found[1 + nth])
      move_breaker(told, nth, breaker, limited_here)
      if also > 0 and nth == 1 and breaker.til > 0 then
        told.regain = max(told.regain, breaker.til + HANDED_ON * told.rules.retry - told.now)
      end
    end
  end
end

local function learn_from(told, beat) -- the call that was let through to learn how much is spent has come back
  local state, window, used = told.plan.state, settled_window(told, 1), nil
  if told.outcome == 'unused' then
    call('SET', state, beat .. pack('>d', 0))
    return
  elseif told.outcome == 'failed' and told.percents[1] < 0 then
    call('SET', state, beat .. pack('>d', told.now + told.rules.retry))
    return
  elseif told.outcome == 'app_limit' then
    used = window.calls
  elseif told.percents[1] >= 0 then
    used = used_by(window, told.percents[1])
  else
    used = window.calls * told.rules.learning_share
  end
  set_others(window, others_of(window, used, told.ticket[SEQ], told.now), told.ticket[SEQ], told.now)
  call('SET', state, beat .. pack('>d', -1))
end

local function is_learning(told)
  local state = told.found[1]
  if not state then
    return false
  end
  local _, lease = unpack_from(STATE, state, STATE_FROM)
  return lease >= 0 and sub(state, HOLDER_FROM) == told.id
end

local function give_spent_back(told, window, bucket)
  local key = spent_key(told.plan.prefix, bucket * window.limit.width, window.limit.length)
  if call('HINCRBY', key, told.plan.spender, -told.plan.cost) <= 0 then
    call('HDEL', key, told.plan.spender)
  end
end

local function give_back(told, only_plain) -- what was not made, or was turned away before it came to a small limit
  local plan, paced = told.plan, told.rules.pacing and told.plan.rank > 0
  for nth, limit in ipairs(plan.limits) do
    local bucket = told.ticket[BUCKETS + plan.places[nth]]
    if bucket >= 0 and (limit.plain or not only_plain) then
      local window = settled_window(told, nth)
      refund(window, bucket, plan.cost, paced and not limit.plain)
      if nth == 1 then
        give_spent_back(told, window, bucket)
      end
    end
  end
end

local function note_refusal(told) -- a call that Meta has refused is spent, and somebody has spent it so
  local plan, limit, bucket = told.plan, told.plan.limits[1], told.ticket[BUCKETS + 1]
  local key = spent_key(plan.prefix, bucket * limit.width, limit.length)
  if call('EXISTS', key) == 1 then
    call('HINCRBY', key, REFUSED .. plan.spender, plan.cost)
  end
end

local function hear_headers(told)
  for nth, limit in ipairs(told.plan.limits) do
    local percent = limit.breaker and told.percents[limit.breaker]
    if percent and percent >= 0 then
      hear(settled_window(told, nth), percent, told.ticket[SEQ], told.ticket[1 + limit.breaker], told.now)
    end
  end
end

register('settle', function(keys, args)
  local rules, now = rules_of[args[1]], time_now(args[3])
  if not rules then
    return without_rules(args[1])
  end
  local plan, found = plan_for(rules, keys[1], args[2], 1)
  local told = settled_call(rules, plan, found, args, now)
  if call('ZREM', plan.wire, args[5]) == 1 then
    if limited_breaker(told.outcome, plan) > 0 then
      note_refusal(told)
    end
    if told.outcome == 'unused' then
      give_back(told, false)
    elseif told.outcome == 'app_limit' or told.outcome == 'waba_limit' then
      give_back(told, true)
    end
  end
  if is_learning(told) then
    learn_from(told, sub(found[1], 1, STATE_FROM + 7))
  end
  hear_headers(told)
  move_breakers(told)
  return told.changes
end)
