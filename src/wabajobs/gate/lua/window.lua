-- A rolling window: a ring of n + 1 buckets, n of which are at least as long as the window and the spread of
-- arrivals together. It forgets whole buckets only, so it never lets too much through.
--
-- It is one string. What each call writes lies in front and is written in place; the ring behind it is touched
-- only when time has come to another bucket.
--   HOT   sum of the ring; head bucket; calls in it; charged ever, begun at the time of the first charge, which
--         orders the calls; level of the pacer, in calls; when that was; demand of interactive calls of late, when
--         the last was; the same of standard calls; the grid (bucket width and number)
--   COLD  used by others (from Meta's header); when that was read; the order of the call that read it; when a call
--         was last let through only to read the header again; share of the limit that was used at a trip nobody
--         could explain, or -1; when that was; the least that an unknown limit can be; calls that a limit on trial
--         would have refused
--   ring  calls in each bucket, four bytes each; the head's stand in HOT

local LEAST_HEIGHT = 0.25 -- who had hardly called before a trip has learnt hardly anything of the limit
local HOT, COLD, SLOT = '>ddddddfdfdd', '>dddddddd', '>I4'
local BOTH = '>ddddddfdfdddddddddd'
local COLD_AT, COLD_FROM, RING_FROM = '80', 81, 145

local ring_formats = {}

local function ring_format(n)
  if not ring_formats[n] then
    ring_formats[n] = '>' .. string.rep('I4', n + 1)
  end
  return ring_formats[n]
end

-- What a limit is, by itself: nothing of it changes from call to call, and it is one for all of its kind.
local function make_limit(kind, told, said, rules)
  local length, n = said[2], rules.buckets
  local width = ceil((length + rules.spread) / n)
  return {
    kind = kind, plain = rules.plain[kind], shadow = said[3] == 1, calls = said[1], length = length,
    width = width, n = n, grid = width * 1000 + n, unknown = said[1] == 0 and not told and kind == 'app',
    turn = length + rules.spread + width, -- in which the ring forgets all that it holds
    ttl = int(floor((2 * length + rules.spread + 2 * width + 60 * SECOND) / 1000)),
    special = said[3] == 1 or said[1] == 0,
    breaker = (kind == 'app' and 1) or (kind == 'waba' and 2) or nil, -- each of Meta's limits on calls has one
  }
end

-- The limit of a scope; nothing where nobody has set one. `default` names another of the settings' windows.
local function limit_of(scope, told, rules, default)
  local kind = match(scope, '^%a+')
  local name = told and kind .. told or default or kind
  if rules.limits[name] == nil then
    local said = told and decode(told) or rules.windows[name]
    rules.limits[name] = said and make_limit(kind, told, said, rules) or false
  end
  return rules.limits[name]
end

-- Demand fades with a twelfth of the window, so that what nobody asks for any more is handed on within a sixth.
local function fade(amount, age, length)
  return amount > 0 and amount * exp(-12 * max(0, age) / length) or 0
end

-- The share of a limit that is kept for a higher class: what it used of late and half as much again, within the
-- bounds that the settings give. A class that has not called for a sixth of the window keeps hardly anything back.
local function reserve_for(demand, at, bounds, calls, length, now)
  local age = now - at
  if demand <= 0 or age > length / 6 then
    return bounds[3]
  end
  local least, most = bounds[1], bounds[2]
  local share = 1.5 * fade(demand, age, length) / max(1, calls)
  return (share <= least or most <= least) and least or share < most and share or most
end

-- The share of a limit that a class may fill. Interactive calls may go into the margin: so they find room at once
-- also after they have been idle, when nothing was kept for them.
local function share_of(limit, calls, rank, interactive, interactive_at, standard, standard_at, rules, now)
  if limit.plain then
    return 1
  elseif rank == 0 then
    return rules.highest
  end
  local share = 1 - reserve_for(interactive, interactive_at, rules.reserves[1], calls, limit.length, now)
  if rank > 1 then
    share = share - reserve_for(standard, standard_at, rules.reserves[2], calls, limit.length, now)
  end
  return share * (1 - rules.margin)
end

-- After a trip that the header had not foretold the limit is in doubt: the ceiling comes back along a cubic,
-- from four fifths of what was used then, past that in a sixth of the window, to all of it in a third.
-- Ha, Rhee, Xu: CUBIC, a new TCP-friendly high-speed TCP variant, 2008.
local function height_of(used_then, doubted_at, length, now)
  local age = max(0, now - doubted_at) / (length / 6) - 1
  if age >= 1 then
    return 1
  end
  local beyond = age > 0 and 1 - used_then or 0.2 * used_then
  return max(0.01, min(1, used_then + beyond * age * age * age))
end

local function usable_of(calls, share) -- a small limit keeps at least one call
  if calls < 1 then
    return 0
  end
  local usable = calls * share + 0.000001
  return usable > 1 and usable - usable % 1 or 1
end

local function faded(others, read_at, length, now) -- held for one window, given back over the next
  local left = (read_at + 2 * length - now) / length
  return floor(others * max(0, min(1, left)))
end

-- The usual case of all that follows, in one go and without a table: time has not come to another bucket, nothing is
-- in doubt, there is room, and the pace allows the call. Answers what is to be written for a call that is charged, the
-- bucket and the mark; nothing where there is more to it, and `look` and `judge` are asked.
local function charged_at_once(limit, text, rank, cost, rules, now)
  local sum, head, head_calls, charged, level, paced_at, interactive, interactive_at, standard, standard_at, grid, others,
    read_at, _, _, used_then = unpack_from(BOTH, text)
  local bucket = (now - now % limit.width) / limit.width
  if bucket ~= head or grid ~= limit.grid or used_then >= 0 or limit.special or now < paced_at then
    return nil
  end
  if others > 0 then
    others = faded(others, read_at, limit.length, now)
  end
  local calls = limit.calls
  local usable = usable_of(calls,
    share_of(limit, calls, rank, interactive, interactive_at, standard, standard_at, rules, now))
  local free = usable - others
  if sum + cost > free then
    return nil
  end
  if rank == 0 then
    interactive = fade(interactive, now - interactive_at, limit.length) + cost
    interactive_at = now
  elseif not limit.plain then
    if rules.pacing then
      local step = limit.turn / free
      local burst = rules.burst / step
      burst = burst > rules.burst_calls and burst or rules.burst_calls
      level = level - (now - paced_at) / step
      level = level > 0 and level or 0
      if (level - (burst - 1)) * step > 0.01 then
        return nil
      end
      level, paced_at = level + cost, now
    end
    if rank == 1 then
      standard, standard_at = fade(standard, now - standard_at, limit.length) + cost, now
    end
  end
  charged = (charged > 0 and charged or now) + cost
  return pack(HOT, sum + cost, head, head_calls + cost, charged, level, paced_at, interactive, interactive_at, standard,
    standard_at, grid), head, charged
end

local function calls_in(window, bucket) -- of those that have not been written over
  if bucket == window.head then
    return window.head_calls
  elseif bucket > window.head or not window.ring then
    return 0
  end
  return (unpack_from(SLOT, window.text, RING_FROM + 4 * (bucket % (window.limit.n + 1))))
end

local function turn_ring(window, now) -- to where time has come; what it has pushed out no longer counts
  local n, head = window.limit.n, window.head
  local bucket = floor(now / window.limit.width)
  if bucket <= head then -- time that steps back stays in the head
    window.bucket = head
    return
  end
  window.bucket = bucket
  window.moved = true
  if bucket - head > n then
    window.sum = 0
  elseif window.ring then
    for leaving = head - n, bucket - n - 1 do
      window.sum = window.sum - calls_in(window, leaving)
    end
  end
end

-- Buckets of another width, after a change of settings: all that they hold counts for the end of their head.
local function put_on_new_grid(window, old_grid)
  window.head = floor((window.head + 1) * floor(old_grid / 1000) / window.limit.width)
  window.head_calls, window.ring, window.moved = window.sum, false, true
end

local function begin_window(window, now)
  window.sum, window.head, window.head_calls, window.charged, window.level, window.paced_at = 0, 0, 0, 0, 0, 0
  window.interactive, window.interactive_at, window.standard, window.standard_at = 0, 0, 0, 0
  window.others_read, window.read_at, window.read_seq, window.asked_at = 0, 0, 0, 0
  window.used_then, window.doubted_at, window.least, window.trial = -1, 0, 0, 0
  window.ring, window.moved, window.bucket = false, true, floor(now / window.limit.width)
end

-- Reads a window as it stands now into a table that is used again and again: a new one for each would be slow.
local function look(window, key, limit, text, rules, now)
  window.key, window.limit, window.text, window.calls = key, limit, text, limit.calls
  window.height, window.others, window.refresh = 1, 0, false
  if not text then
    begin_window(window, now)
  else
    local grid
    window.sum, window.head, window.head_calls, window.charged, window.level, window.paced_at,
      window.interactive, window.interactive_at, window.standard, window.standard_at, grid,
      window.others_read, window.read_at, window.read_seq, window.asked_at, window.used_then, window.doubted_at,
      window.least, window.trial = unpack_from(BOTH, text)
    window.ring, window.moved = true, false
    if grid ~= limit.grid then
      put_on_new_grid(window, grid)
    end
    turn_ring(window, now)
    if window.used_then >= 0 then
      window.height = height_of(window.used_then, window.doubted_at, limit.length, now)
    end
    if window.others_read > 0 then
      window.others = faded(window.others_read, window.read_at, limit.length, now)
    end
  end
  if limit.unknown then
    window.calls = max(rules.unknown, window.least)
  end
end

local function ring_wait(window, need, now) -- until `need` calls have left; nil if there are not so many
  if need <= 0 then
    return 0
  end
  if need > window.sum then
    return nil
  end
  local n, width, freed = window.limit.n, window.limit.width, 0
  for bucket = window.bucket - n, window.head do
    freed = freed + calls_in(window, bucket)
    if freed >= need then
      return (bucket + n + 1) * width - now
    end
  end
  return (window.head + n + 1) * width - now -- not before all has left
end

local function pace_wait(window, rules, slow, now)
  local step = window.limit.turn / max(1, window.usable - window.others) * slow -- the ring's own rate
  local burst = slow > 1 and 1 or max(rules.burst_calls, rules.burst / step)
  if now < window.paced_at then -- the clock stepped back: the ring alone decides
    window.level = min(window.level, burst - 1)
  else
    window.level = max(0, window.level - (now - window.paced_at) / step)
  end
  window.paced_at = now
  return max(0, ceil((window.level - (burst - 1)) * step - 0.01))
end

local function refresh_due(window, cost, rules, now) -- until one call may read an old header again
  local due = max(window.read_at, window.asked_at) + rules.stale - now
  due = max(0, min(due, rules.stale)) -- no more than that, also when the clock stepped back
  return max(due, ring_wait(window, window.sum + cost - window.usable, now))
end

local function usable_by(window, rank, rules, now)
  local share = share_of(window.limit, window.calls, rank, window.interactive, window.interactive_at, window.standard,
    window.standard_at, rules, now)
  return usable_of(window.calls, share * window.height)
end

-- How long the window refuses a call: 0 not at all, nil for ever. The second answer is what refuses.
local function judge(window, rank, cost, rules, slow, now)
  local usable = usable_by(window, rank, rules, now)
  window.usable = usable
  if cost > usable then
    return nil, 'never'
  end
  local ring, pace = ring_wait(window, window.sum + window.others + cost - usable, now), 0
  if rank > 0 and rules.pacing and not window.limit.plain then
    pace = pace_wait(window, rules, slow, now)
  end
  local wait = ring and max(ring, pace) or nil
  if window.others > 0 and (ring ~= 0 or pace > window.limit.turn / usable * slow) then
    local due = refresh_due(window, cost, rules, now)
    window.refresh = due == 0
    wait = wait and min(wait, due) or due
  end
  return wait, ring == 0 and 'pace' or 'ring'
end

local function hot(window)
  return pack(HOT, window.sum, window.bucket, window.head_calls, window.charged, window.level, window.paced_at,
    window.interactive, window.interactive_at, window.standard, window.standard_at, window.limit.grid)
end

local function cold(window)
  return pack(COLD, window.others_read, window.read_at, window.read_seq, window.asked_at, window.used_then,
    window.doubted_at, window.least, window.trial)
end

local function turned_ring(window) -- as it is to be written; the head's own calls stand elsewhere
  local n, head, bucket = window.limit.n, window.head, window.bucket
  local slots
  if window.ring and bucket - head <= n then
    slots = {unpack_from(ring_format(n), window.text, RING_FROM)}
    for passed = head + 1, bucket do
      slots[passed % (n + 1) + 1] = 0
    end
  else
    slots = {}
    for slot = 1, n + 1 do
      slots[slot] = 0
    end
  end
  if bucket - head <= n then
    slots[head % (n + 1) + 1] = window.head_calls
  end
  return pack(ring_format(n), spread(slots, 1, n + 1))
end

local function store(window, added) -- all of it, which begins a new span of life
  local ring = turned_ring(window)
  if window.bucket ~= window.head then
    window.head, window.head_calls = window.bucket, 0
  end
  window.head_calls = window.head_calls + added
  window.text = hot(window) .. cold(window) .. ring
  window.ring, window.moved = true, false
  call('SET', window.key, window.text, 'PX', window.limit.ttl)
end

local function keep(window) -- what Meta's header and the breakers have taught
  if not window.text then
    store(window, 0)
    return
  end
  call('SETRANGE', window.key, COLD_AT, cold(window))
  if window.moved then
    call('PEXPIRE', window.key, window.limit.ttl)
  end
end

local function charge(window, rank, cost, rules, now)
  local limit = window.limit
  window.charged = (window.charged > 0 and window.charged or now) + cost
  window.sum = window.sum + cost
  if not limit.plain then
    if rank == 0 then
      window.interactive = fade(window.interactive, now - window.interactive_at, limit.length) + cost
      window.interactive_at = now
    else
      if rules.pacing then
        window.level = window.level + cost
      end
      if rank == 1 then
        window.standard = fade(window.standard, now - window.standard_at, limit.length) + cost
        window.standard_at = now
      end
    end
  end
  if window.refresh then
    window.asked_at = now
  end
  if window.moved then
    store(window, cost)
    return
  end
  window.head_calls = window.head_calls + cost
  call('SETRANGE', window.key, '0', hot(window))
  if window.refresh or window.would_refuse then
    call('SETRANGE', window.key, COLD_AT, cold(window))
  end
end

local function refund(window, bucket, cost, paced) -- a call that was not made; its bucket may have left
  if not window.text or bucket > window.head or bucket < window.bucket - window.limit.n then
    return
  end
  local given = min(cost, calls_in(window, bucket))
  if bucket == window.head then
    window.head_calls = window.head_calls - given
  elseif window.ring then
    local at = RING_FROM + 4 * (bucket % (window.limit.n + 1))
    window.text = sub(window.text, 1, at - 1) .. pack(SLOT, calls_in(window, bucket) - given)
      .. sub(window.text, at + 4)
  end
  window.sum = window.sum - given
  if paced then
    window.level = max(0, window.level - given)
  end
  store(window, 0)
end

local function own_of(window, now) -- our calls in Meta's window: ours is longer, so without its oldest part
  local limit, own = window.limit, window.sum
  local cut = now - limit.length
  for bucket = window.bucket - limit.n, min(floor(cut / limit.width), window.head) do
    own = own - calls_in(window, bucket) * min(1, (cut - bucket * limit.width) / limit.width)
  end
  return own
end

local function past_limit(window, percent, now) -- until so much of what Meta counts has left that it is below its limit
  local own = own_of(window, now)
  return ring_wait(window, window.sum - own * 100 / percent, now) or 0
end

local function others_of(window, used, mark, now) -- what Meta counts beyond what we had sent by then
  local later = max(0, window.charged - mark)
  local own = max(0, own_of(window, now) - later)
  return max(0, floor(used - own + 0.5))
end

local function used_by(window, percent) -- the middle of the step that a whole percent stands for
  if percent >= 100 then
    return window.calls
  end
  return min(window.calls, (percent + 0.5) / 100 * window.calls)
end

-- A limit that nobody knows is at least our own calls over Meta's percent: others can only make it larger.
local function learn_limit(window, percent, mark, now)
  local own = max(0, own_of(window, now) - max(0, window.charged - mark))
  window.least = max(window.calls, floor(own * 100 / (percent + 1)))
  window.calls = window.least
end

local function doubt(window, now) -- a refusal came while the window was not full: how full is all we know
  local used = max(0, own_of(window, now)) + window.others
  if used >= 0.98 * window.calls then
    return -- the header had said so: the meter is right
  end
  window.used_then, window.doubted_at = max(LEAST_HEIGHT, used / window.calls), now
  keep(window)
end

local function trust(window, percent, now) -- the header agrees with our own count: the limit is what we thought
  if abs(used_by(window, percent) - own_of(window, now)) <= max(1, window.calls / 50) then
    window.used_then = -1
  end
end

local function set_others(window, others, seq, now)
  window.others_read, window.read_at, window.read_seq = others, now, seq
  window.others = faded(others, now, window.limit.length, now)
  keep(window)
end

-- Meta's header: believed at once when it rises, by a twentieth per reading when it falls. Less than a
-- percent is its rounding. A late answer does not overwrite what a newer call has read.
local function hear(window, percent, seq, mark, now)
  if seq <= window.read_seq then
    return
  end
  if window.limit.unknown then
    learn_limit(window, percent, mark, now)
  end
  if window.used_then >= 0 then
    trust(window, percent, now)
  end
  local zone = max(1, ceil(window.calls / 100))
  local before, others = window.others, others_of(window, used_by(window, percent), mark, now)
  if percent < 100 and others < zone then
    others = 0
  end
  if percent < 100 and others < before + zone then
    local falls = others == 0 or others <= before - zone
    others = falls and before - ceil((before - others) / 20) or before
  end
  set_others(window, max(others, 0), seq, now)
end
