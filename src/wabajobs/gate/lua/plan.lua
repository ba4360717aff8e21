-- What is looked at for one shape of call: which keys, and what people have decided about them. A shape is what
-- calls of the same app, queue, partner, WABA, capability, class and cost have in common; its text is JSON. Its plan is
-- made once, and again when people have decided something, which they have when the stamp has changed.
--
-- The state of an app is one string: the stamp (16 bytes); when somebody last spoke to the gate; end of the lease of the
-- call that finds out how much is spent, or -1 when that is known; which call that is.

local PLANS_MOST = 1000 -- and as many that were used before; a plan takes some two kilobytes
local STATE, STAMP_LENGTH, STATE_FROM, HOLDER_FROM = '>dd', 16, 17, 33
local SPENT_PARTS = 12

local function decisions_about(shape, told)
  local fields = {'revision'} -- HMGET wants one at least
  for _, scope in ipairs(shape.pauses) do
    fields[#fields + 1] = 'pause:' .. scope
  end
  for _, scope in ipairs(shape.budgets) do
    fields[#fields + 1] = 'limit:' .. scope
  end
  for _, scope in ipairs(shape.breakers) do
    fields[#fields + 1] = 'breaker:' .. scope
  end
  return call('HMGET', told, spread(fields))
end

-- A pause: its end in milliseconds, or 0; a sentence; a notice; its scope; 1 if it holds on when its end has come;
-- the share of the app's budget that it lets pass, 0 for single probes, -1 for nothing; its number.
local function add_pauses(plan, said) -- one that has ended is kept: the clock may step back
  for _, pause in ipairs(decode(said)) do
    if pause[6] < 0 then
      plan.pauses[#plan.pauses + 1] = pause
      plan.paused_until = max(plan.paused_until, (pause[1] == 0 or pause[5] == 1) and math.huge or pause[1] * 1000)
    else
      plan.slowed[#plan.slowed + 1] = pause
    end
  end
end

-- How far apart the calls are that a pause lets pass: single probes as far as a breaker's, else a share of the app's
-- budget, evenly.
local function spacing_of(pause, limit, rules)
  if pause[6] == 0 then
    return rules.base
  end
  local calls = limit.calls > 0 and limit.calls or rules.unknown
  return ceil(limit.turn / (calls * (1 - rules.margin) * pause[6]))
end

local function default_for(scope, prefix) -- a WABA without a registered number has a small limit
  local waba = match(scope, '^waba:[^:]*:(.*)$')
  return waba and call('SISMEMBER', prefix .. 'inactive', waba) == 1 and 'inactive' or nil
end

local function make_plan(rules, told, text, stamp)
  local shape, prefix = decode(text), prefix_of(told)
  local plan = {
    stamp = stamp, prefix = prefix, rank = shape.rank, place = shape.place, cost = shape.cost, spender = shape.spender,
    scopes = shape.budgets, breakers = shape.breakers, overrides = {}, limits = {}, places = {},
    pauses = {}, slowed = {}, paused_until = 0, state = prefix .. 'state', wire = prefix .. 'wire', keys = {prefix .. 'state'}, ticket = {0, 0, 0},
    ticket_format = '>Bdd' .. string.rep('d', #shape.budgets + #shape.breakers),
    has_waba = shape.has_waba, has_number = shape.has_number,
  }
  local said, at = decisions_about(shape, told), 1
  for _ = 1, #shape.pauses do
    at = at + 1
    if said[at] then
      add_pauses(plan, said[at])
    end
  end
  local budgets = at
  at = at + #shape.budgets
  for nth, scope in ipairs(shape.breakers) do
    plan.keys[1 + nth] = prefix .. 'breaker:' .. scope
    plan.overrides[nth] = said[at + nth] and decode(said[at + nth]) or false
  end
  for nth, scope in ipairs(shape.budgets) do
    local limit = limit_of(scope, said[budgets + nth], rules, default_for(scope, prefix))
    plan.ticket[3 + nth] = -1
    if limit then
      plan.limits[#plan.limits + 1], plan.places[#plan.places + 1] = limit, nth
      plan.keys[#plan.keys + 1] = prefix .. 'window:' .. scope
    end
  end
  for _, pause in ipairs(plan.slowed) do
    plan.keys[#plan.keys + 1] = prefix .. 'slowed:' .. int(pause[7])
    pause.at, pause.spacing = #plan.keys, spacing_of(pause, plan.limits[1], rules)
  end
  plan.asked = #plan.keys
  plan.keys[plan.asked + 1] = prefix .. 'failures:' .. shape.breakers[#shape.breakers] -- only a settlement reads it
  return plan
end

local function keep_plan(rules, text, plan)
  if rules.plans >= PLANS_MOST then
    rules.young, rules.old, rules.plans, rules.limits = {}, rules.young, 0, {}
  end
  if not rules.young[text] then
    rules.plans = rules.plans + 1
  end
  rules.young[text] = plan
end

-- The plan for a shape, and what stands now under its keys; nothing when the gate has not been told anything.
-- `more` is 1 for a settlement, which reads one key more.
local function plan_for(rules, told, text, more)
  local plan = rules.young[text]
  if not plan then
    plan = rules.old[text]
    if plan then
      keep_plan(rules, text, plan)
    end
  end
  if plan then
    local found = call('MGET', spread(plan.keys, 1, plan.asked + more))
    local state = found[1]
    if not state or sub(state, 1, STAMP_LENGTH) == plan.stamp then
      return plan, found
    end
  end
  local state = call('GET', prefix_of(told) .. 'state')
  plan = make_plan(rules, told, text, state and sub(state, 1, STAMP_LENGTH))
  if state then
    keep_plan(rules, text, plan)
  end
  return plan, call('MGET', spread(plan.keys, 1, plan.asked + more))
end

-- Who used an app's budget is counted in twelve parts of the window, each a hash of its own: calls by
-- 'queue|partner|waba|capability', those that met a limit by the same after '!', and under '@' a name of the hash.
local REFUSED = '!'

local function spent_key(prefix, moment, length)
  return prefix .. 'spent:' .. int(floor(moment * SPENT_PARTS / length))
end
