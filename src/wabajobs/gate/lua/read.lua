-- One app as it stands, for people: changes nothing.
-- keys: told, wire, inactive, windows, breakers
-- args: the rules (JSON), the time or '', the windows' scopes (JSON), the breakers' scopes (JSON)
-- Answers {revision or '', learning, in flight,
--          eleven numbers of each window, its limit -1 when nobody has set one,
--          til, lease, trips, evidence, when, override or '' of each breaker, til and lease -1 for none}

local function window_numbers(window, rules, now)
  if not window then
    return '-1', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'
  end
  local usable = {}
  for rank = 0, 2 do
    usable[rank] = usable_of(window.limit, share_of(window, rank, rules))
  end
  local lately, recent = math.max(1, math.ceil(window.n / 12)), 0
  local first = window.bucket - lately
  if not window.new_grid and first <= window.head then
    for _, calls in ipairs(redis.call('HMGET', window.key, unpack(slots_of(window, first, window.head)))) do
      recent = recent + num(calls)
    end
  end
  return window.limit, window.sum, window.others, window.length,
    usable[0], usable[1], usable[2], math.floor(window.height * 1000000),
    math.floor(recent * window.length / ((lately + 1) * window.width)), window.shadow and '1' or '0',
    redis.call('HGET', window.key, 'sh') or '0'
end

register('read', function(keys, args)
  local rules, now = decoded(args[1]), time_now(args[2])
  local scopes, breakers = cjson.decode(args[3]), cjson.decode(args[4])
  local told = redis.call('HMGET', keys[1], 'revision', 'learning')
  local answer = {told[1] or '', told[2] and 1 or 0,
    redis.call('ZCOUNT', keys[2], math.floor((now - 2 * rules.lease) / 1000), '+inf')}
  local function add(...)
    for _, value in ipairs({...}) do
      answer[#answer + 1] = value
    end
  end
  for nth, scope in ipairs(scopes) do
    local waba = string.match(scope, '^waba:[^:]*:(.*)$')
    local is_inactive = waba and redis.call('SISMEMBER', keys[3], waba) == 1
    local limit = redis.call('HGET', keys[1], 'limit:' .. scope)
    add(window_numbers(
      look(keys[3 + nth], scope, limit, rules, now, is_inactive and rules.windows.inactive or nil), rules, now))
  end
  for nth, scope in ipairs(breakers) do
    local breaker = breaker_at(keys[3 + #scopes + nth])
    add(breaker.til > 0 and (math.max(0, breaker.til - now)) or '-1', (math.max(0, breaker.lease - now)),
      (trips_left(breaker, rules, now)), breaker.evidence, breaker.at,
      redis.call('HGET', keys[1], 'breaker:' .. scope) or '')
  end
  return answer
end)

-- Who used an app's budget in the window: changes nothing.
-- keys: told
-- args: the time or '', the window's length in microseconds
-- Answers {'queue|partner|waba', calls, ...}
register('spenders', function(keys, args)
  local now, length = time_now(args[1]), tonumber(args[2])
  local calls, answer = {}, {}
  for part = 0, 12 do
    local fields = redis.call('HGETALL', spent_key(keys[1], now - part * length / 12, length))
    for i = 1, #fields, 2 do
      calls[fields[i]] = (calls[fields[i]] or 0) + tonumber(fields[i + 1])
    end
  end
  for who, count in pairs(calls) do
    answer[#answer + 1], answer[#answer + 2] = who, count
  end
  return answer
end)
