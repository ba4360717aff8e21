-- A circuit breaker: one hash per scope. Open while `til` is there; half-open is a lease that one call holds.
--
-- Fields: til open until    k trips so far, for the doubling    e epoch, new at each trip and each closing
--         lease end of the probe's lease    tok the call that holds it    ct closed at    ev evidence    at of when
--         f head of the failure ring    a0..a5 calls    b0..b5 of which failed
--         wr rank of the first in line while it is open    wa when that one last asked

local FAILURE_SLOTS = 6

local function breaker_at(key)
  local field = redis.call('HMGET', key, 'til', 'lease', 'tok', 'k', 'e', 'ct', 'ev', 'at', 'wr', 'wa')
  return {
    key = key, til = field[1] and num(field[1]) or nil, lease = num(field[2]), tok = field[3] or '',
    k = num(field[4]), epoch = num(field[5]), closed_at = num(field[6]), evidence = field[7] or '', at = num(field[8]),
    first_rank = tonumber(field[9]), first_at = num(field[10]),
  }
end

-- Who waits at an open breaker is noted, so that the probe is made for the first in line: people before robots,
-- reads before writes.
local function stand_in_line(breaker, rules, now)
  local is_stale = now - breaker.first_at > rules.retry or now < breaker.first_at
  if not breaker.first_rank or is_stale or rules.place <= breaker.first_rank then
    redis.call('HSET', breaker.key, 'wr', int(rules.place), 'wa', int(now))
  end
end

local function is_behind(breaker, rules, now) -- somebody before us asked a moment ago, and will ask again
  local age = now - breaker.first_at
  return breaker.first_rank and breaker.first_rank < rules.place and age >= 0 and age <= 2 * rules.retry
end

-- How long the breaker refuses a call, and why. A call that it does not refuse may have to take its lease.
local function stands(breaker, id, override, rules, now)
  if override and (override[2] == 0 or override[2] * 1000 > now) then
    if override[1] == 'closed' then
      return 0
    end
    return override[2] == 0 and math.huge or override[2] * 1000 - now, 'held'
  end
  if not breaker.til then
    return 0
  end
  if breaker.til > now then
    return breaker.til - now, 'open'
  end
  if breaker.lease > now and breaker.tok ~= id then
    return math.min(breaker.lease - now, rules.retry), 'probing'
  end
  if is_behind(breaker, rules, now) then
    return rules.retry, 'behind'
  end
  breaker.due = true
  return 0
end

local function slowness(breaker, rules, now) -- after a closing: 1/16 of the rate, doubling step by step
  local age = now - breaker.closed_at
  if breaker.closed_at == 0 or age < 0 or age >= 4 * rules.ramp then
    return 1
  end
  return 2 ^ (4 - math.floor(age / rules.ramp))
end

local function take_lease(breaker, id, rules, now)
  redis.call('HDEL', breaker.key, 'wr', 'wa')
  redis.call('HSET', breaker.key, 'lease', int(now + rules.lease), 'tok', id)
end

local function give_lease_back(breaker)
  redis.call('HDEL', breaker.key, 'lease', 'tok')
end

local function expire_breaker(breaker, rules, now) -- once it has forgotten its trips and its failures
  local open = math.max(0, (breaker.til or 0) - now)
  local clean = math.max((breaker.k + 1) * rules.clean, rules.windows.app[2], 2 * rules.failure_window)
  redis.call('PEXPIRE', breaker.key, int((open + clean + 60 * SECOND) / 1000))
end

local function forget_failures(breaker)
  local names = {'f'}
  for slot = 0, FAILURE_SLOTS - 1 do
    names[#names + 1] = 'a' .. slot
    names[#names + 1] = 'b' .. slot
  end
  redis.call('HDEL', breaker.key, unpack(names))
end

local function next_epoch(breaker, now)
  return int(math.max(breaker.epoch + 1, now))
end

local function trips_left(breaker, rules, now) -- one trip is forgotten per clean stretch since the closing
  if breaker.closed_at == 0 then
    return breaker.k
  end
  local stretches = math.floor(math.max(0, now - breaker.closed_at) / rules.clean)
  return math.max(0, breaker.k - stretches)
end

local function trip(breaker, regain, evidence, rules, now)
  local k = trips_left(breaker, rules, now)
  local pause = math.min(rules.cap, rules.base * 2 ^ k) * (1 + rules.random / 10)
  breaker.til, breaker.k = now + math.max(regain, math.ceil(pause)), math.min(k + 1, 30)
  forget_failures(breaker)
  redis.call('HDEL', breaker.key, 'lease', 'tok', 'ct')
  redis.call('HSET', breaker.key, 'til', int(breaker.til), 'k', int(breaker.k), 'e', next_epoch(breaker, now),
    'ev', evidence, 'at', int(now))
  expire_breaker(breaker, rules, now)
end

local function extend(breaker, regain, rules, now) -- a longer time to regain extends, a shorter never shortens
  if breaker.til and regain > 0 and now + regain > breaker.til then
    breaker.til = now + regain
    redis.call('HSET', breaker.key, 'til', int(breaker.til))
    expire_breaker(breaker, rules, now)
  end
end

local function close(breaker, rules, now)
  redis.call('HDEL', breaker.key, 'til', 'lease', 'tok', 'ev', 'at', 'wr', 'wa')
  redis.call('HSET', breaker.key, 'e', next_epoch(breaker, now), 'ct', int(now))
  breaker.til = nil
  expire_breaker(breaker, rules, now)
end

local function turn_failures(breaker, rules, now) -- returns the slot of now, after emptying those that left
  local bucket = math.floor(now / math.ceil(rules.failure_window / FAILURE_SLOTS))
  local head = tonumber(redis.call('HGET', breaker.key, 'f') or nil)
  if head and bucket <= head then
    return head % FAILURE_SLOTS
  end
  for step = head and math.max(head + 1, bucket - FAILURE_SLOTS + 1) or bucket, bucket do
    local slot = int(step % FAILURE_SLOTS)
    redis.call('HDEL', breaker.key, 'a' .. slot, 'b' .. slot)
  end
  redis.call('HSET', breaker.key, 'f', int(bucket))
  expire_breaker(breaker, rules, now)
  return bucket % FAILURE_SLOTS
end

local function count_call(breaker, failed, rules, now)
  local slot = int(turn_failures(breaker, rules, now))
  redis.call('HINCRBY', breaker.key, 'a' .. slot, 1)
  if failed then
    redis.call('HINCRBY', breaker.key, 'b' .. slot, 1)
  end
end

local function failures(breaker) -- calls, and how many of them failed, in the failure window
  local calls, failed = 0, 0
  for slot = 0, FAILURE_SLOTS - 1 do
    local pair = redis.call('HMGET', breaker.key, 'a' .. slot, 'b' .. slot)
    calls, failed = calls + num(pair[1]), failed + num(pair[2])
  end
  return calls, failed
end
