-- A circuit breaker: one hash per scope. Open while it has an end; half-open is a lease that one call holds.
--
-- Fields: m six doubles: open until, 0 when closed; end of the probe's lease; trips so far, for the doubling; epoch,
--           new at each trip and each closing; closed at; tripped at
--         p two doubles: rank of the first in line while it is open; when that one last asked
--         tok the call that holds the lease    ev evidence of the trip
--         r ring of calls and failures: head, then calls and failures of six parts of the failure window

local FAILURE_SLOTS = 6
local SIX, TWO = '>dddddd', '>dd'
local RING = '>dI4I4I4I4I4I4I4I4I4I4I4I4'

-- A breaker that has never tripped.
local SOUND = {til = 0, lease = 0, k = 0, epoch = 0, closed_at = 0, at = 0, first_rank = -1, first_at = 0}
SOUND.__index = SOUND

local function breaker_at(key)
  local field = redis.call('HMGET', key, 'm', 'tok', 'ev', 'p')
  local breaker = setmetatable({key = key, tok = field[2] or '', evidence = field[3] or ''}, SOUND)
  if field[1] then
    breaker.til, breaker.lease, breaker.k, breaker.epoch, breaker.closed_at, breaker.at = struct.unpack(SIX, field[1])
  end
  if field[4] then
    breaker.first_rank, breaker.first_at = struct.unpack(TWO, field[4])
  end
  return breaker
end

local function write(breaker)
  redis.call('HSET', breaker.key, 'm', struct.pack(SIX, breaker.til, breaker.lease, breaker.k, breaker.epoch,
    breaker.closed_at, breaker.at), 'tok', breaker.tok, 'ev', breaker.evidence)
end

-- Who waits at an open breaker is noted, so that the probe is made for the first in line: people before robots,
-- reads before writes.
local function stand_in_line(breaker, rules, now)
  local is_stale = now - breaker.first_at > rules.retry or now < breaker.first_at
  if breaker.first_rank < 0 or is_stale or rules.place <= breaker.first_rank then
    redis.call('HSET', breaker.key, 'p', struct.pack(TWO, rules.place, now))
  end
end

local function is_behind(breaker, rules, now) -- somebody before us asked a moment ago, and will ask again
  local age = now - breaker.first_at
  return breaker.first_rank >= 0 and breaker.first_rank < rules.place and age >= 0 and age <= 2 * rules.retry
end

-- How long the breaker refuses a call, and why. A call that it does not refuse may have to take its lease.
local function stands(breaker, id, override, rules, now)
  if override and (override[2] == 0 or override[2] * 1000 > now) then
    if override[1] == 'closed' then
      return 0
    end
    return override[2] == 0 and math.huge or override[2] * 1000 - now, 'held'
  end
  if breaker.til == 0 then
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
  breaker.lease, breaker.tok = now + rules.lease, id
  redis.call('HDEL', breaker.key, 'p')
  write(breaker)
end

local function give_lease_back(breaker)
  breaker.lease, breaker.tok = 0, ''
  write(breaker)
end

local function expire_breaker(breaker, rules, now) -- once it has forgotten its trips and its failures
  local open = math.max(0, breaker.til - now)
  local clean = math.max((breaker.k + 1) * rules.clean, rules.windows.app[2], 2 * rules.failure_window)
  redis.call('PEXPIRE', breaker.key, math.floor((open + clean + 60 * SECOND) / 1000))
end

local function next_epoch(breaker, now)
  return math.max(breaker.epoch + 1, now)
end

local function trips_left(breaker, rules, now) -- one trip is forgotten per clean stretch since the closing
  if breaker.closed_at == 0 then
    return breaker.k
  end
  local stretches = math.floor(math.max(0, now - breaker.closed_at) / rules.clean)
  return math.max(0, breaker.k - stretches)
end

local function trip(breaker, regain, evidence, rules, random, now)
  local k = trips_left(breaker, rules, now)
  local pause = math.min(rules.cap, rules.base * 2 ^ k) * (1 + random / 10)
  breaker.til, breaker.k = now + math.max(regain, math.ceil(pause)), math.min(k + 1, 30)
  breaker.lease, breaker.tok, breaker.closed_at = 0, '', 0
  breaker.epoch, breaker.evidence, breaker.at = next_epoch(breaker, now), evidence, now
  redis.call('HDEL', breaker.key, 'r')
  write(breaker)
  expire_breaker(breaker, rules, now)
end

local function extend(breaker, regain, rules, now) -- a longer time to regain extends, a shorter never shortens
  if breaker.til > 0 and regain > 0 and now + regain > breaker.til then
    breaker.til = now + regain
    write(breaker)
    expire_breaker(breaker, rules, now)
  end
end

local function close(breaker, rules, now)
  breaker.til, breaker.lease, breaker.tok, breaker.evidence, breaker.at = 0, 0, '', '', 0
  breaker.epoch, breaker.closed_at = next_epoch(breaker, now), now
  write(breaker)
  expire_breaker(breaker, rules, now)
end

-- Counts one call in the failure window. Answers how many there were, and how many of them failed.
local function count_call(breaker, failed, rules, now)
  local bucket = math.floor(now / math.ceil(rules.failure_window / FAILURE_SLOTS))
  local stored = redis.call('HGET', breaker.key, 'r')
  local ring = stored and {struct.unpack(RING, stored)} or {bucket, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  local head = ring[1]
  for step = math.max(head + 1, bucket - FAILURE_SLOTS + 1), bucket do
    local slot = step % FAILURE_SLOTS
    ring[2 + 2 * slot], ring[3 + 2 * slot] = 0, 0
  end
  ring[1] = math.max(head, bucket)
  local slot = ring[1] % FAILURE_SLOTS
  ring[2 + 2 * slot] = ring[2 + 2 * slot] + 1
  ring[3 + 2 * slot] = ring[3 + 2 * slot] + (failed and 1 or 0)
  redis.call('HSET', breaker.key, 'r', struct.pack(RING, unpack(ring, 1, 13)))
  if not stored or bucket > head then
    expire_breaker(breaker, rules, now)
  end
  local calls, failures = 0, 0
  for i = 2, 12, 2 do
    calls, failures = calls + ring[i], failures + ring[i + 1]
  end
  return calls, failures
end
