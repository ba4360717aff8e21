-- May this call be made now? Grants it, and charges every window, or refuses it and charges nothing.
-- keys: told, which stands for all keys of the app
-- args: digest of the rules, its shape (JSON), the time or '', its id, how it stands on the wire
-- Answers a ticket, which its settlement brings back: a bit for each breaker that it probes; marks of the app's and the
--         WABA's window; the bucket that it was charged in, for each budget, or -1; the epoch of each breaker
--      or {0, what refused, microseconds or -1 for a person, the scope that refused, details ...}

local NEVER = 1 / 0

-- One call is decided at a time, so one set of tables is enough.
local looked, stood = {{}, {}, {}, {}, {}, {}}, {}
local room = {{}, {}, {}, {}}
local ready, buckets, marks = {}, {}, {} -- of windows that were charged at once

local function refusal(kind, wait, scope, first, second, third)
  return {0, kind, wait == NEVER and -1 or wait, scope, first, second, third}
end

local function longest_pause(plan, rules, now)
  local longest, holds = 0, nil
  for _, pause in ipairs(plan.pauses) do
    local left = pause[1] == 0 and NEVER or pause[1] * 1000 - now
    if left <= 0 and pause[5] == 1 then
      left = rules.retry -- its time is over, and it is about to go on step by step
    end
    if left > longest then
      longest, holds = left, pause
    end
  end
  return longest, holds
end

local function judge_closely(window, key, limit, text, plan, rules, now)
  local slow = 1
  look(window, key, limit, text, rules, now)
  if limit.breaker then -- each of Meta's limits on calls has one
    local breaker = stood[limit.breaker]
    slow = slowness(breaker, rules, now)
    if breaker.due then
      window.height = 1 -- a ceiling in doubt must not keep the probe back whose header may end the doubt
    end
  end
  local wait, why = judge(window, plan.rank, plan.cost, rules, slow, now)
  window.would_refuse = limit.shadow and wait ~= 0
  if limit.shadow then
    return 0
  end
  return wait, why
end

-- When the next call of what runs slowly is due. A due time further ahead than one call can have set it was set by
-- another clock, or at another pace.
local function wait_of_slowed(pause, found, cost, now)
  local due = tonumber(found[pause.at] or 0)
  local is_over = pause[1] ~= 0 and pause[5] == 0 and pause[1] * 1000 <= now
  return is_over and 0 or min(due - now, pause.spacing * max(cost, 50))
end

-- Looks at all that applies. Answers nothing if the call may be made, or the refusal that lasts longest.
local function refusal_of(rules, plan, found, id, now)
  local state = found[1]
  if not state then
    return refusal('untold', rules.retry, '')
  end
  local beat, lease = unpack_from(STATE, state, STATE_FROM)
  if now - beat > rules.silence then
    return refusal('silent', rules.retry, '')
  end
  if plan.paused_until > now then
    local left, pause = longest_pause(plan, rules, now)
    return refusal('pause', left, pause[4], pause[2], pause[3])
  end
  local longest, because, scope, first, second, third = 0, nil, nil, nil, nil, nil
  if lease > now and sub(state, HOLDER_FROM) ~= id then
    longest, because, scope = min(lease - now, rules.retry), 'learning', ''
  end
  local keys, breakers = plan.keys, #plan.breakers
  for nth = 1, breakers do
    local breaker, override = SOUND, plan.overrides[nth]
    if found[1 + nth] then
      breaker = room[nth]
      look_at_breaker(breaker, keys[1 + nth], found[1 + nth])
    end
    stood[nth] = breaker
    if breaker.til > 0 or override then
      local wait, why = stands(breaker, plan.place, id, override, rules, now)
      if wait > longest then
        longest, because, scope = wait, why, plan.breakers[nth]
        first, second = breaker.evidence, breaker.at
        if why == 'held' then
          first, second = override[3], 0
        end
      end
      if wait > 0 and why ~= 'held' then
        stand_in_line(breaker, plan.place, rules, now)
      end
    end
  end
  local rank, cost, limits = plan.rank, plan.cost, plan.limits
  for nth = 1, #limits do
    local limit, at = limits[nth], 1 + breakers + nth
    local text, swift = found[at], false
    if text and (not limit.breaker or stood[limit.breaker].closed_at == 0) then
      swift, buckets[nth], marks[nth] = charged_at_once(limit, text, rank, cost, rules, now)
    end
    ready[nth] = swift
    if not swift then
      local window = looked[nth]
      local wait, why = judge_closely(window, keys[at], limit, text, plan, rules, now)
      if wait ~= 0 and (wait or NEVER) > longest then
        longest, because, scope = wait or NEVER, why, plan.scopes[plan.places[nth]]
        first, second, third = window.sum, window.others, window.usable
      end
    end
  end
  for _, pause in ipairs(plan.slowed) do
    local wait = wait_of_slowed(pause, found, cost, now)
    if wait > longest then
      longest, because, scope, first, second, third = wait, 'slow', pause[4], pause[2], pause[3], nil
    end
  end
  if longest > 0 then
    return refusal(because, longest, scope, first, second, third)
  end
end

local function note_spender(plan, bucket, cost) -- who used how much, in twelve parts of the window
  local limit = plan.limits[1]
  local part = floor(bucket * limit.width * SPENT_PARTS / limit.length)
  if plan.spent_part ~= part then
    plan.spent_part, plan.spent_key = part, spent_key(plan.prefix, bucket * limit.width, limit.length)
  end
  if call('HINCRBY', plan.spent_key, plan.spender, cost) == cost then
    call('PEXPIRE', plan.spent_key, int(floor(2 * limit.length / 1000)))
  end
end

local function charge_closely(window, nth, plan, rules, now)
  if window.would_refuse then
    window.trial = window.trial + plan.cost
  end
  charge(window, plan.rank, plan.cost, rules, now)
  buckets[nth], marks[nth] = window.bucket, window.charged
end

local function grant(rules, plan, found, id, wire, now)
  local ticket, limits, keys, breakers, probes = plan.ticket, plan.limits, plan.keys, #plan.breakers, 0
  for nth = 1, #limits do
    if ready[nth] then
      call('SETRANGE', keys[1 + breakers + nth], '0', ready[nth])
    else
      charge_closely(looked[nth], nth, plan, rules, now)
    end
    ticket[3 + plan.places[nth]] = buckets[nth]
    if limits[nth].breaker then
      ticket[1 + limits[nth].breaker] = marks[nth]
    end
  end
  local epochs = 3 + #plan.scopes
  for nth = 1, breakers do
    local breaker = stood[nth]
    ticket[epochs + nth] = breaker.epoch
    if breaker.due then
      take_lease(breaker, id, rules, now)
      probes = probes + 2 ^ (nth - 1)
    end
  end
  ticket[1] = probes
  local _, learning = unpack_from(STATE, found[1], STATE_FROM)
  if learning >= 0 then
    local beat = sub(found[1], 1, STATE_FROM + 7)
    call('SET', plan.state, beat .. pack('>d', now + rules.lease) .. id)
  end
  for _, pause in ipairs(plan.slowed) do
    local ahead = pause.spacing * plan.cost
    call('SET', keys[pause.at], int(now + ahead), 'PX', int(ceil(2 * ahead / 1000)))
  end
  note_spender(plan, buckets[1], plan.cost)
  if now % 64 == 0 then -- lost calls leave the wire now and then
    call('ZREMRANGEBYSCORE', plan.wire, '-inf', floor((now - 2 * rules.lease) / 1000))
  end
  call('ZADD', plan.wire, floor(now / 1000), wire)
  return pack(plan.ticket_format, spread(ticket, 1, epochs + breakers))
end

register('admit', function(keys, args)
  local rules, now = rules_of[args[1]], time_now(args[3])
  if not rules then
    return without_rules(args[1])
  end
  local plan, found = plan_for(rules, keys[1], args[2], 0)
  local refused = refusal_of(rules, plan, found, args[4], now)
  if refused then
    return refused
  end
  return grant(rules, plan, found, args[4], args[5], now)
end)

-- The probe of a breaker is for one call only: what else is asked in the same breath would find it taken.
local function probe_taken(plan, rules, taken)
  local refused
  for nth = 1, #plan.breakers do
    local breaker, key = stood[nth], plan.keys[1 + nth]
    if breaker.due then
      if taken[key] then
        refused = refusal('probing', rules.retry, plan.breakers[nth], breaker.evidence, breaker.at)
      end
      taken[key] = true
    end
  end
  return refused
end

-- What `admit` would answer to each of many calls by itself, but for probes, without taking anything.
-- keys: told
-- args: digest of the rules, the time or '', the shape of each call
-- Answers 1 for each that would be granted, or its refusal.
register('forecast', function(keys, args)
  local rules, now = rules_of[args[1]], time_now(args[2])
  if not rules then
    return without_rules(args[1])
  end
  local answers, taken = {}, {}
  for nth = 3, #args do
    local plan, found = plan_for(rules, keys[1], args[nth], 0)
    answers[nth - 2] = refusal_of(rules, plan, found, '-', now) or probe_taken(plan, rules, taken) or 1
  end
  return answers
end)
