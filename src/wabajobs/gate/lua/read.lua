-- One app as it stands, for people: changes nothing.
-- KEYS: told, wire, inactive, windows, breakers
-- ARGV: the rules (JSON), the time or '', the windows' scopes (JSON), the breakers' scopes (JSON)
-- Answers {revision or '', learning, in flight,
--          eleven numbers of each window, its limit -1 when nobody has set one,
--          til, lease, trips, evidence, when, override or '' of each breaker, til and lease -1 for none}

local rules, now, scopes = cjson.decode(ARGV[1]), time_now(ARGV[2]), cjson.decode(ARGV[3])
local breakers = cjson.decode(ARGV[4])
local told = redis.call('HMGET', KEYS[1], 'revision', 'learning')
local answer = {told[1] or '', told[2] and 1 or 0,
  redis.call('ZCOUNT', KEYS[2], int((now - 2 * rules.lease) / 1000), '+inf')}

local function add(...)
  for _, value in ipairs({...}) do
    answer[#answer + 1] = value
  end
end

local function left(til)
  return til and int(math.max(0, til - now)) or '-1'
end

local usual_waba = rules.windows.waba
for nth, scope in ipairs(scopes) do
  local waba = string.match(scope, '^waba:[^:]*:(.*)$')
  local is_inactive = waba and redis.call('SISMEMBER', KEYS[3], waba) == 1
  rules.windows.waba = is_inactive and rules.windows.inactive or usual_waba
  local window = look(KEYS[3 + nth], scope, redis.call('HGET', KEYS[1], 'limit:' .. scope), rules, now)
  if window then
    local usable = {}
    for rank = 0, 2 do
      rules.rank = rank
      usable[rank] = usable_of(window.limit, share_of(window, rules, now))
    end
    local lately, recent = math.max(1, math.ceil(window.n / 12)), 0
    local first = window.bucket - lately
    if not window.new_grid and first <= window.head then
      for _, calls in ipairs(redis.call('HMGET', window.key, unpack(slots_of(window, first, window.head)))) do
        recent = recent + num(calls)
      end
    end
    add(int(window.limit), int(window.sum), int(window.others), int(window.length),
      int(usable[0]), int(usable[1]), int(usable[2]), int(window.height * 1000000),
      int(recent * window.length / ((lately + 1) * window.width)), window.shadow and '1' or '0',
      redis.call('HGET', window.key, 'sh') or '0')
  else
    add('-1', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0')
  end
end
for i = 4 + #scopes, #KEYS do
  local breaker = breaker_at(KEYS[i])
  add(left(breaker.til), left(breaker.lease), int(trips_left(breaker, rules, now)), breaker.evidence, int(breaker.at),
    redis.call('HGET', KEYS[1], 'breaker:' .. breakers[i - 3 - #scopes]) or '')
end
return answer
