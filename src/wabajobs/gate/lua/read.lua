-- One app as it stands, for people: changes nothing.
-- KEYS: told, wire, windows, breakers
-- ARGV: the rules (JSON, with a default for each window), the time or '', fields of the windows' limits (JSON)
-- Answers {revision or '', learning, in flight,
--          limit, used, others, length of each window, til, lease, trips, evidence, when of each breaker; -1 for none}

local rules, now, limits = cjson.decode(ARGV[1]), time_now(ARGV[2]), cjson.decode(ARGV[3])
local told = redis.call('HMGET', KEYS[1], 'revision', 'learning', unpack(limits))
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

for nth = 1, #limits do
  local window = look(KEYS[2 + nth], told[2 + nth], rules.windows[nth], rules, now)
  add(int(window.limit), int(window.sum), int(window.others), int(window.length))
end
for i = 3 + #limits, #KEYS do
  local breaker = breaker_at(KEYS[i])
  add(left(breaker.til), left(breaker.lease), int(trips_left(breaker, rules, now)), breaker.evidence, int(breaker.at))
end
return answer
