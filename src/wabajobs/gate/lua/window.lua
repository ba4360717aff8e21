-- A rolling window: a ring of n + 1 buckets in one hash, n of which are at least as long as the window
-- and the spread of arrivals together. It forgets whole buckets only, so it never lets too much through.
--
-- Fields: 0..n the buckets
--         a what every charge writes: sum of the ring; head bucket; charged ever, begun at the time of the first
--           charge, which orders the calls; level of the pacer, in calls; when that was; demand of interactive and of
--           standard calls of late (two floats); when that was reckoned; the grid (bucket width and number)
--         b what few calls write: used by others (from Meta's header); when that was read; the order of the call that
--           read it; when a call was last let through only to read the header again; share of the limit that was used
--           at a trip nobody could explain, or -1; when that was; the least that an unknown limit can be
--         sh calls that a limit on trial would have refused
-- Fields of 64 bytes at most keep the hash a compact one (hash-max-listpack-value), and few are found quickly.

local MOST_BUCKETS = 240
local LEAST_HEIGHT = 0.25 -- who had hardly called before a trip has learnt hardly anything of the limit
local HOT, COLD = '>dddddffdd', '>ddddddd'

-- Demand fades with a twelfth of the window, so that what nobody asks for any more is handed on within a sixth.
local function fade(amount, age, length)
  return amount > 0 and amount * math.exp(-12 * math.max(0, age) / length) or 0
end

-- The share of a limit that is kept for higher classes: what they used of late and half as much again,
-- within the bounds that the settings give.
local function reserve_for(demand, bounds, limit)
  return math.min(math.max(bounds[1], 1.5 * demand / math.max(1, limit)), math.max(bounds[1], bounds[2]))
end

local function share_of(window, rank, rules)
  if window.plain then
    return 1
  end
  local share = 1
  if rank > 0 then
    share = share - reserve_for(window.interactive, rules.reserves[1], window.limit)
  end
  if rank > 1 then
    share = share - reserve_for(window.standard, rules.reserves[2], window.limit)
  end
  return share * (1 - rules.margin) * window.height
end

-- After a trip that the header had not foretold the limit is in doubt: the ceiling comes back along a cubic,
-- from four fifths of what was used then, past that in a sixth of the window, to all of it in a third.
-- Ha, Rhee, Xu: CUBIC, a new TCP-friendly high-speed TCP variant, 2008.
local function height_of(used_then, doubted_at, length, now)
  if used_then < 0 then
    return 1
  end
  local age = math.max(0, now - doubted_at) / (length / 6) - 1
  if age >= 1 then
    return 1
  end
  local beyond = age > 0 and 1 - used_then or 0.2 * used_then
  return math.max(0.01, math.min(1, used_then + beyond * age * age * age))
end

local function usable_of(limit, share) -- a small limit keeps at least one call
  if limit < 1 then
    return 0
  end
  return math.max(1, math.floor(limit * share + 0.000001))
end

local function faded(others, read_at, length, now) -- held for one window, given back over the next
  local left = (read_at + 2 * length - now) / length
  return math.floor(others * math.max(0, math.min(1, left)))
end

local function slot_of(window, bucket)
  return bucket % (window.n + 1)
end

local function slots_of(window, first, last)
  local names = {}
  for bucket = first, last do
    names[#names + 1] = slot_of(window, bucket)
  end
  return names
end

local function find_leaving(window) -- the buckets that time has pushed out since the last charge
  local steps = window.bucket - window.head
  if steps > 0 then
    window.calls_now = 0
  end
  if steps > window.n then
    window.sum = 0
    window.leaving = not window.new_grid and slots_of(window, 0, window.n) or nil
  end
  if steps <= 0 or steps > window.n or window.new_grid then
    return
  end
  window.leaving = slots_of(window, window.head + 1, window.bucket)
  for _, calls in ipairs(redis.call('HMGET', window.key, unpack(window.leaving))) do
    window.sum = window.sum - num(calls)
  end
end

-- Buckets of another width, after a change of settings: all that they hold counts for the end of their head.
local function head_on_new_grid(window, old_grid, old_head)
  return math.floor((old_head + 1) * math.floor(old_grid / 1000) / window.width)
end

-- The window of a scope as it stands now; nil when nobody has set a limit for it.
local function look(key, scope, told, rules, now, default)
  local kind = kind_of(scope)
  local limit = told and decoded(told) or default or rules.windows[kind]
  if not limit then
    return nil
  end
  local n, length = rules.buckets, limit[2]
  local width = math.ceil((length + rules.spread) / n)
  local bucket = math.floor(now / width)
  local found = redis.call('HMGET', key, 'a', 'b', bucket % (n + 1))
  local sum, head, charged, level, paced_at, interactive, standard, demanded_at, old_grid = 0, 0, 0, 0, 0, 0, 0, 0, 0
  if found[1] then
    sum, head, charged, level, paced_at, interactive, standard, demanded_at, old_grid = struct.unpack(HOT, found[1])
  end
  local others_read, read_at, read_seq, asked_at, used_then, doubted_at, least = 0, 0, 0, 0, -1, 0, 0
  if found[2] then
    others_read, read_at, read_seq, asked_at, used_then, doubted_at, least = struct.unpack(COLD, found[2])
  end
  local grid = width * 1000 + n
  local window = { -- all fields at once: a table that grows is a slow one
    key = key, kind = kind, plain = rules.plain[kind], shadow = limit[3] == 1, limit = limit[1], length = length,
    width = width, n = n, grid = grid, old_grid = old_grid, new_grid = old_grid ~= grid, bucket = bucket,
    calls_now = num(found[3]), unknown = limit[1] == 0 and not told and kind == 'app',
    sum = sum, head = head, charged = charged, level = level, paced_at = paced_at,
    interactive = fade(interactive, now - demanded_at, length), standard = fade(standard, now - demanded_at, length),
    others_read = others_read, read_at = read_at, read_seq = read_seq, asked_at = asked_at, used_then = used_then,
    doubted_at = doubted_at, least = least, height = height_of(used_then, doubted_at, length, now),
    others = others_read > 0 and faded(others_read, read_at, length, now) or 0, usable = 0,
  }
  if window.unknown then
    window.limit = math.max(rules.unknown, window.least)
  end
  if window.new_grid then
    window.head = head_on_new_grid(window, window.old_grid, window.head)
    window.calls_now = window.head == bucket and window.sum or 0
  end
  if window.head > bucket then -- time that steps back stays in the head
    window.bucket = window.head
    window.calls_now = window.new_grid and window.sum
      or num(redis.call('HGET', key, slot_of(window, window.head)))
  end
  find_leaving(window)
  return window
end

local function ring_wait(window, need, now) -- until `need` calls have left; nil if there are not so many
  if need <= 0 then
    return 0
  end
  if need > window.sum then
    return nil
  end
  local freed, oldest = 0, window.bucket - window.n
  local slots = window.new_grid and {}
    or redis.call('HMGET', window.key, unpack(slots_of(window, oldest, window.bucket)))
  for i = 0, window.head - oldest - 1 do
    freed = freed + num(slots[i + 1])
    if freed >= need then
      return (window.bucket + i + 1) * window.width - now
    end
  end
  return (window.head + window.n + 1) * window.width - now -- not before all has left
end

local function pace_wait(window, rules, slow, now)
  local free = math.max(1, window.usable - window.others)
  local step = (window.length + rules.spread + window.width) / free * slow -- the ring's own rate
  local burst = slow > 1 and 1 or math.max(rules.burst_calls, rules.burst / step)
  if now < window.paced_at then -- the clock stepped back: the ring alone decides
    window.level = math.min(window.level, burst - 1)
  else
    window.level = math.max(0, window.level - (now - window.paced_at) / step)
  end
  window.paced_at = now
  return math.max(0, math.ceil((window.level - (burst - 1)) * step - 0.01))
end

local function refresh_due(window, cost, rules, now) -- until one call may read an old header again
  local due = math.max(window.read_at, window.asked_at) + rules.stale - now
  due = math.max(0, math.min(due, rules.stale)) -- no more than that, also when the clock stepped back
  return math.max(due, ring_wait(window, window.sum + cost - window.usable, now))
end

-- How long the window refuses a call: 0 not at all, nil for ever. The second answer is what refuses.
local function judge(window, cost, rules, slow, now)
  window.usable = usable_of(window.limit, share_of(window, rules.rank, rules))
  if cost > window.usable then
    return nil, 'never'
  end
  local ring = ring_wait(window, window.sum + window.others + cost - window.usable, now)
  local pace = rules.paced and not window.plain and pace_wait(window, rules, slow, now) or 0
  local wait = ring and math.max(ring, pace)
  local own_step = (window.length + rules.spread + window.width) / window.usable * slow
  if window.others > 0 and (ring ~= 0 or pace > own_step) then
    local due = refresh_due(window, cost, rules, now)
    window.refresh = due == 0
    wait = wait and math.min(wait, due) or due
  end
  return wait, (ring == 0) and 'pace' or 'ring'
end

local function expire(window, rules) -- in idleness, once nothing in it can count any more
  redis.call('PEXPIRE', window.key, math.floor((2 * window.length + rules.spread + 60 * SECOND) / 1000))
end

local function hot(window, now) -- what every charge writes
  return struct.pack(HOT, window.sum, window.bucket, window.charged, window.level, window.paced_at,
    window.interactive, window.standard, now, window.grid)
end

local function cold(window) -- what few calls write
  return struct.pack(COLD, window.others_read, window.read_at, window.read_seq, window.asked_at, window.used_then,
    window.doubted_at, window.least)
end

local function keep(window, rules)
  redis.call('HSET', window.key, 'b', cold(window))
  expire(window, rules)
end

local function forget_slots(window) -- of whatever grid
  local names = {}
  for slot = 0, MOST_BUCKETS do
    names[#names + 1] = slot
  end
  redis.call('HDEL', window.key, unpack(names))
end

local function push_out(window) -- buckets that have left, or whose width no longer is ours
  if window.new_grid and window.old_grid > 0 then
    forget_slots(window)
    if window.sum > 0 and window.head ~= window.bucket then
      redis.call('HSET', window.key, slot_of(window, window.head), window.sum)
    end
  elseif window.leaving then
    redis.call('HDEL', window.key, unpack(window.leaving))
  end
end

local function charge(window, cost, rules, now) -- begins with HSET: a Redis without memory refuses that
  local has_moved = window.bucket ~= window.head or window.new_grid
  local sum_before = window.sum
  window.charged = (window.charged > 0 and window.charged or now) + cost
  if not window.plain then
    if rules.paced then
      window.level = window.level + cost
    end
    if rules.rank == 0 then
      window.interactive = window.interactive + cost
    elseif rules.rank == 1 then
      window.standard = window.standard + cost
    end
  end
  window.sum = sum_before + cost
  local fields = {'a', hot(window, now), slot_of(window, window.bucket), (window.calls_now + cost)}
  if window.refresh then
    window.asked_at = now
    fields[5], fields[6] = 'b', cold(window)
  end
  if has_moved then
    window.sum = sum_before
    redis.call('HSET', window.key, fields[1], fields[2])
    push_out(window)
    window.sum = sum_before + cost
  end
  redis.call('HSET', window.key, unpack(fields))
  if has_moved then
    expire(window, rules)
  end
end

local function refund(window, bucket, cost, paced, now) -- a call that was not made; its bucket may have left
  if window.new_grid or bucket > window.head or bucket < window.head - window.n then
    return
  end
  redis.call('HINCRBY', window.key, slot_of(window, bucket), (-cost))
  local stored = {struct.unpack(HOT, redis.call('HGET', window.key, 'a'))}
  stored[1] = stored[1] - cost
  if paced then
    stored[4] = math.max(0, stored[4] - cost)
  end
  redis.call('HSET', window.key, 'a', struct.pack(HOT, unpack(stored, 1, 9)))
end

local function own_of(window, now) -- our calls in Meta's window: ours is longer, so without its oldest part
  local own, cut, oldest = window.sum, now - window.length, window.bucket - window.n
  local last = math.min(math.floor(cut / window.width), window.bucket)
  if window.new_grid or last < oldest then
    return own
  end
  local slots = redis.call('HMGET', window.key, unpack(slots_of(window, oldest, last)))
  for i, calls in ipairs(slots) do
    local bucket = oldest + i - 1
    if bucket <= window.head then
      own = own - num(calls) * math.min(1, (cut - bucket * window.width) / window.width)
    end
  end
  return own
end

local function others_of(window, used, mark, now) -- what Meta counts beyond what we had sent by then
  local later = math.max(0, window.charged - mark)
  local own = math.max(0, own_of(window, now) - later)
  return math.max(0, math.floor(used - own + 0.5))
end

local function used_by(window, percent) -- the middle of the step that a whole percent stands for
  if percent >= 100 then
    return window.limit
  end
  return math.min(window.limit, (percent + 0.5) / 100 * window.limit)
end

-- A limit that nobody knows is at least our own calls over Meta's percent: others can only make it larger.
local function learn_limit(window, percent, mark, now)
  if not window.unknown then
    return
  end
  local own = math.max(0, own_of(window, now) - math.max(0, window.charged - mark))
  window.least = math.max(window.limit, math.floor(own * 100 / (percent + 1)))
  window.limit = window.least
end

local function doubt(window, rules, now) -- a refusal came while the window was not full: how full is all we know
  local used = math.max(0, own_of(window, now)) + window.others
  if used >= 0.98 * window.limit then
    return -- the header had said so: the meter is right
  end
  window.used_then, window.doubted_at = math.max(LEAST_HEIGHT, used / window.limit), now
  keep(window, rules)
end

local function trust(window, percent, now) -- the header agrees with our own count: the limit is what we thought
  if window.used_then >= 0
    and math.abs(used_by(window, percent) - own_of(window, now)) <= math.max(1, window.limit / 50) then
    window.used_then = -1
  end
end

local function set_others(window, others, seq, rules, now)
  window.others_read, window.read_at, window.read_seq = others, now, seq
  keep(window, rules)
end

-- Meta's header: believed at once when it rises, by a twentieth per reading when it falls. Less than a
-- percent is its rounding. A late answer does not overwrite what a newer call has read.
local function hear(window, percent, seq, mark, rules, now)
  if seq <= window.read_seq then
    return
  end
  learn_limit(window, percent, mark, now)
  trust(window, percent, now)
  local zone = math.max(1, math.ceil(window.limit / 100))
  local before, others = window.others, others_of(window, used_by(window, percent), mark, now)
  if percent < 100 and others < zone then
    others = 0
  end
  if percent < 100 and others < before + zone then
    local falls = others == 0 or others <= before - zone
    others = falls and before - math.ceil((before - others) / 20) or before
  end
  set_others(window, math.max(others, 0), seq, rules, now)
end
