-- One app as it stands, for people: changes nothing.
-- keys: told
-- args: digest of the rules, the time or '', the windows' scopes (JSON), the breakers' scopes (JSON)
-- Answers {revision or '', learning, in flight,
--          twelve numbers of each window, its limit -1 when nobody has set one,
--          til, lease, trips, evidence, when, override or '' of each breaker, til and lease -1 for none}

local function recent_calls(window) -- of the last twelfth of the window, as calls in a whole one
  local limit = window.limit
  local lately, recent = max(1, ceil(limit.n / 12)), 0
  for bucket = window.bucket - lately, window.head do
    recent = recent + calls_in(window, bucket)
  end
  return floor(recent * limit.length / ((lately + 1) * limit.width))
end

local function add_window(answer, window, rules, now)
  for rank = 0, 2 do
    answer[#answer + 1] = usable_by(window, rank, rules, now)
  end
  answer[#answer + 1] = floor(window.height * 1000000)
  answer[#answer + 1] = recent_calls(window)
  answer[#answer + 1] = floor(12 * fade(window.interactive, now - window.interactive_at, window.limit.length))
  answer[#answer + 1] = window.limit.shadow and 1 or 0
  answer[#answer + 1] = window.trial
end

local function add_numbers(answer, ...)
  for _, value in ipairs({...}) do
    answer[#answer + 1] = value
  end
end

register('read', function(keys, args)
  local rules, now = rules_of[args[1]], time_now(args[2])
  if not rules then
    return without_rules(args[1])
  end
  local told, prefix = keys[1], prefix_of(keys[1])
  local revision, state = call('HGET', told, 'revision'), call('GET', prefix .. 'state')
  local beat, lease
  if state then
    beat, lease = unpack_from(STATE, state, STATE_FROM)
  end
  local answer = {state and revision or '', lease and lease >= 0 and 1 or 0,
    call('ZCOUNT', prefix .. 'wire', floor((now - 2 * rules.lease) / 1000), '+inf')}
  local window = looked[1]
  for _, scope in ipairs(decode(args[3])) do
    local limit = limit_of(scope, call('HGET', told, 'limit:' .. scope), rules, default_for(scope, prefix))
    if limit then
      local key = prefix .. 'window:' .. scope
      look(window, key, limit, call('GET', key), rules, now)
      add_numbers(answer, window.calls, window.sum, window.others, limit.length)
      add_window(answer, window, rules, now)
    else
      add_numbers(answer, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    end
  end
  for _, scope in ipairs(decode(args[4])) do
    local key = prefix .. 'breaker:' .. scope
    local breaker = breaker_at(key, call('GET', key))
    add_numbers(answer, breaker.til > 0 and max(0, breaker.til - now) or -1, max(0, breaker.lease - now),
      trips_left(breaker, rules, now), breaker.evidence, breaker.at,
      call('HGET', told, 'breaker:' .. scope) or '')
  end
  return answer
end)

-- Who used an app's budget in the window: changes nothing.
-- keys: told
-- args: the time or '', the window's length in microseconds
-- Answers {'queue|partner|waba|capability', calls, ...}
register('spenders', function(keys, args)
  local now, length = time_now(args[1]), tonumber(args[2])
  local calls, answer = {}, {}
  for part = 0, SPENT_PARTS do
    local fields = call('HGETALL', spent_key(prefix_of(keys[1]), now - part * length / SPENT_PARTS, length))
    for i = 1, #fields, 2 do
      if match(fields[i], '^%w') then
        calls[fields[i]] = (calls[fields[i]] or 0) + tonumber(fields[i + 1])
      end
    end
  end
  for who, count in pairs(calls) do
    answer[#answer + 1], answer[#answer + 2] = who, count
  end
  return answer
end)
