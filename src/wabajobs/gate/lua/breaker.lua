-- A circuit breaker. Open while it has an end; half-open is a lease that one call holds.
--
-- It is one string; where there is none, it is sound.
--   open until, 0 when closed; end of the probe's lease; trips so far, for the doubling; epoch, new at each trip
--   and each closing; closed at; tripped at; rank of the first in line while it is open, or -1; when that one last
--   asked; the call that holds the lease; evidence of the trip
-- Failures are counted apart, so that a breaker that has never tripped takes no time:
--   head, then calls and failures of six parts of the failure window

local FAILURE_SLOTS = 6
local BREAKER, LINE = '>ddddddddBc0', '>dd'
local LINE_AT = '48'
local FAILURES = '>dI4I4I4I4I4I4I4I4I4I4I4I4'

local SOUND = {
  til = 0, lease = 0, k = 0, epoch = 0, closed_at = 0, at = 0, first_rank = -1, first_at = 0, tok = '', evidence = '',
}

local function look_at_breaker(breaker, key, text)
  local rest
  breaker.key, breaker.due = key, false
  breaker.til, breaker.lease, breaker.k, breaker.epoch, breaker.closed_at, breaker.at, breaker.first_rank,
    breaker.first_at, breaker.tok, rest = unpack_from(BREAKER, text)
  breaker.evidence = sub(text, rest)
end

local function breaker_at(key, text)
  local breaker = {}
  if text then
    look_at_breaker(breaker, key, text)
    return breaker
  end
  for name, value in pairs(SOUND) do
    breaker[name] = value
  end
  breaker.key = key
  return breaker
end

-- Until it has forgotten its trips.
local function write(breaker, rules, now)
  local open = max(0, breaker.til - now)
  local life = open + max((breaker.k + 1) * rules.clean, rules.windows.app[2], 2 * rules.failure_window) + 60 * SECOND
  local text = pack(BREAKER, breaker.til, breaker.lease, breaker.k, breaker.epoch, breaker.closed_at, breaker.at,
    breaker.first_rank, breaker.first_at, #breaker.tok, breaker.tok) .. breaker.evidence
  call('SET', breaker.key, text, 'PX', int(floor(life / 1000)))
end

-- Who waits at an open breaker is noted, so that the probe is made for the first in line: people before robots,
-- reads before writes.
local function stand_in_line(breaker, place, rules, now)
  local is_stale = now - breaker.first_at > rules.retry or now < breaker.first_at
  if breaker.first_rank < 0 or is_stale or place <= breaker.first_rank then
    call('SETRANGE', breaker.key, LINE_AT, pack(LINE, place, now))
  end
end

local function is_behind(breaker, place, rules, now) -- somebody before us asked a moment ago, and will ask again
  local age = now - breaker.first_at
  return breaker.first_rank >= 0 and breaker.first_rank < place and age >= 0 and age <= 2 * rules.retry
end

-- How long the breaker refuses a call, and why. A call that it does not refuse may have to take its lease.
local function stands(breaker, place, id, override, rules, now)
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
    return min(breaker.lease - now, rules.retry), 'probing'
  end
  if is_behind(breaker, place, rules, now) then
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
  return 2 ^ (4 - floor(age / rules.ramp))
end

local function take_lease(breaker, id, rules, now)
  breaker.lease, breaker.tok, breaker.first_rank, breaker.first_at = now + rules.lease, id, -1, 0
  write(breaker, rules, now)
end

local function give_lease_back(breaker, rules, now)
  breaker.lease, breaker.tok = 0, ''
  write(breaker, rules, now)
end

local function next_epoch(breaker, now)
  return max(breaker.epoch + 1, now)
end

local function trips_left(breaker, rules, now) -- one trip is forgotten per clean stretch since the closing
  if breaker.closed_at == 0 then
    return breaker.k
  end
  local stretches = floor(max(0, now - breaker.closed_at) / rules.clean)
  return max(0, breaker.k - stretches)
end

-- `in_vain` is how long a probe is certain to be refused; never longer than the cap, since nobody knows a limit's future.
local function trip(breaker, regain, in_vain, evidence, rules, random, now)
  local k = trips_left(breaker, rules, now)
  local pause = min(rules.cap, max(in_vain, rules.base * 2 ^ k * (1 + random / 10)))
  breaker.til, breaker.k = now + max(regain, ceil(pause)), min(k + 1, 30)
  breaker.lease, breaker.tok, breaker.closed_at = 0, '', 0
  breaker.epoch, breaker.evidence, breaker.at = next_epoch(breaker, now), evidence, now
  write(breaker, rules, now)
end

local function extend(breaker, regain, rules, now) -- a longer time to regain extends, a shorter never shortens
  if breaker.til > 0 and regain > 0 and now + regain > breaker.til then
    breaker.til = now + regain
    write(breaker, rules, now)
  end
end

local function close(breaker, rules, now)
  breaker.til, breaker.lease, breaker.tok, breaker.evidence, breaker.at = 0, 0, '', '', 0
  breaker.epoch, breaker.closed_at = next_epoch(breaker, now), now
  write(breaker, rules, now)
end

-- Counts one call in the failure window. Answers how many there were, and how many of them failed.
local function count_call(key, text, failed, rules, now)
  local bucket = floor(now / ceil(rules.failure_window / FAILURE_SLOTS))
  local ring = text and {unpack_from(FAILURES, text)} or {bucket, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for step = max(ring[1] + 1, bucket - FAILURE_SLOTS + 1), bucket do
    local slot = step % FAILURE_SLOTS
    ring[2 + 2 * slot], ring[3 + 2 * slot] = 0, 0
  end
  ring[1] = max(ring[1], bucket)
  local slot = ring[1] % FAILURE_SLOTS
  ring[2 + 2 * slot] = ring[2 + 2 * slot] + 1
  ring[3 + 2 * slot] = ring[3 + 2 * slot] + (failed and 1 or 0)
  call('SET', key, pack(FAILURES, spread(ring, 1, 13)), 'PX', rules.failures_ttl)
  local calls, failures = 0, 0
  for i = 2, 12, 2 do
    calls, failures = calls + ring[i], failures + ring[i + 1]
  end
  return calls, failures
end
