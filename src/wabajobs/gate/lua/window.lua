-- A rolling window: a ring of n + 1 buckets in one hash, n of which are at least as long as the window
-- and the spread of arrivals together. It forgets whole buckets only, so it never lets too much through.
--
-- Fields: s sum of the ring   h head bucket        g grid: bucket width / n   0..n the buckets
--         c charged ever, begun at the time of the first charge: it orders the calls
--         p level of the pacer, in millionths of a call      t when that was
--         x used by others (from Meta's header)   xt when that was read   xs the order of the call that read it
--         xr when a call was last let through only to read the header again
--         ia it, ja jt demand of interactive and standard calls of late, in thousandths, and when that was
--         mw share of the limit that was used at a trip nobody could explain, in millionths   mt when
--         l the least that an unknown limit can be       sh calls that a limit on trial would have refused

local MOST_BUCKETS = 240
local LEAST_HEIGHT = 0.25 -- who had hardly called before a trip has learnt hardly anything of the limit

-- Demand fades with a twelfth of the window, so that what nobody asks for any more is handed on within a sixth.
local function demand_of(amount, at, length, now)
  return amount * math.exp(-12 * math.max(0, now - at) / length)
end

-- The share of a limit that is kept for higher classes: what they used of late and half as much again,
-- within the bounds that the settings give.
local function reserve_for(demand, bounds, limit)
  return math.min(math.max(bounds[1], 1.5 * demand / math.max(1, limit)), math.max(bounds[1], bounds[2]))
end

local function share_of(window, rules, now)
  if window.plain then
    return 1
  end
  local share = 1
  if rules.rank > 0 then
    share = share - reserve_for(window.interactive, rules.reserves[1], window.limit)
  end
  if rules.rank > 1 then
    share = share - reserve_for(window.standard, rules.reserves[2], window.limit)
  end
  return share * (1 - rules.margin) * window.height
end

-- After a trip that the header had not foretold the limit is in doubt: the ceiling comes back along a cubic,
-- from four fifths of what was used then, past that in a sixth of the window, to all of it in a third.
-- Ha, Rhee, Xu: CUBIC, a new TCP-friendly high-speed TCP variant, 2008.
local function height_of(used_then, tripped_at, length, now)
  if not used_then then
    return 1
  end
  local most, turn = num(used_then) / 1000000, length / 6
  local age = math.max(0, now - num(tripped_at)) / turn - 1
  if age >= 1 then
    return 1
  end
  local beyond = age > 0 and 1 - most or 0.2 * most
  return math.max(0.01, math.min(1, most + beyond * age ^ 3))
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
  return int(bucket % (window.n + 1))
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
  local old_width = old_grid and tonumber(string.match(old_grid, '^%d+')) or 0
  return math.floor((old_head + 1) * old_width / window.width)
end

-- The window of a scope as it stands now; nil when nobody has set a limit for it.
local function look(key, scope, told, rules, now)
  local kind = kind_of(scope)
  local limit = told and cjson.decode(told) or rules.windows[kind]
  if not limit then
    return nil
  end
  local length = limit[2]
  local width = math.ceil((length + rules.spread) / rules.buckets)
  local field = redis.call('HMGET', key, 's', 'h', 'g', 'c', 'p', 't', 'x', 'xt', 'xs', 'xr',
    'ia', 'it', 'ja', 'jt', 'mw', 'mt', 'l')
  local window = {
    key = key, kind = kind, plain = rules.plain[kind], shadow = limit[3] == 1, unknown = limit == rules.windows.app and limit[1] == 0,
    limit = limit[1], length = length, width = width, n = rules.buckets,
    grid = int(width) .. '/' .. int(rules.buckets), bucket = math.floor(now / width),
    sum = num(field[1]), charged = num(field[4]), level = num(field[5]) / 1000000, paced_at = num(field[6]),
    read_at = num(field[8]), read_seq = num(field[9]), asked_at = num(field[10]),
  }
  if window.unknown then
    window.limit = math.max(rules.unknown, num(field[17]))
  end
  window.interactive = demand_of(num(field[11]) / 1000, num(field[12]), length, now)
  window.standard = demand_of(num(field[13]) / 1000, num(field[14]), length, now)
  window.height = height_of(field[15], field[16], length, now)
  window.doubted = field[15] and true or false
  window.others = field[7] and faded(num(field[7]), window.read_at, length, now) or 0
  window.new_grid = field[3] ~= window.grid
  window.old_grid = window.new_grid and field[3] or nil
  window.head = window.new_grid and head_on_new_grid(window, field[3], num(field[2])) or num(field[2])
  window.bucket = math.max(window.bucket, window.head) -- time that steps back stays in the head
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
  return math.max(0, math.ceil((window.level - (burst - 1)) * step - 0.01))
end

local function refresh_due(window, cost, rules, now) -- until one call may read an old header again
  local due = math.max(window.read_at, window.asked_at) + rules.stale - now
  due = math.max(0, math.min(due, rules.stale)) -- no more than that, also when the clock stepped back
  return math.max(due, ring_wait(window, window.sum + cost - window.usable, now))
end

-- How long the window refuses a call: 0 not at all, nil for ever. The second answer is what refuses.
local function judge(window, cost, rules, slow, now)
  window.usable = usable_of(window.limit, share_of(window, rules, now))
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
  redis.call('PEXPIRE', window.key, int((2 * window.length + rules.spread + 60 * SECOND) / 1000))
end

local function forget_slots(window) -- of whatever grid
  local names = {}
  for slot = 0, MOST_BUCKETS do
    names[#names + 1] = slot
  end
  redis.call('HDEL', window.key, unpack(names))
end

local function push_out(window) -- buckets that have left, or whose width no longer is ours
  if window.old_grid then
    forget_slots(window)
    if window.sum > 0 then
      redis.call('HSET', window.key, slot_of(window, window.head), int(window.sum))
    end
  elseif window.leaving then
    redis.call('HDEL', window.key, unpack(window.leaving))
  end
end

local function charge(window, cost, rules, now) -- begins with HSET: a Redis without memory refuses that
  window.charged = (window.charged > 0 and window.charged or now) + cost
  local fields = {'s', int(window.sum + cost), 'h', int(window.bucket), 'c', int(window.charged)}
  if window.new_grid then
    fields[#fields + 1], fields[#fields + 2] = 'g', window.grid
  end
  if rules.paced and not window.plain then
    local n = #fields
    fields[n + 1], fields[n + 2] = 'p', int(math.floor((window.level + cost) * 1000000))
    fields[n + 3], fields[n + 4] = 't', int(now)
  end
  if rules.rank < 2 and not window.plain then
    local n, class = #fields, rules.rank == 0 and 'i' or 'j'
    local demand = rules.rank == 0 and window.interactive or window.standard
    fields[n + 1], fields[n + 2] = class .. 'a', int((demand + cost) * 1000)
    fields[n + 3], fields[n + 4] = class .. 't', int(now)
  end
  if window.refresh then
    fields[#fields + 1], fields[#fields + 2] = 'xr', int(now)
  end
  redis.call('HSET', window.key, unpack(fields))
  push_out(window)
  redis.call('HINCRBY', window.key, slot_of(window, window.bucket), int(cost))
  if window.bucket ~= window.head or window.new_grid then
    expire(window, rules)
  end
end

local function refund(window, bucket, cost, paced) -- a call that was not made; its bucket may have left
  if window.new_grid or bucket > window.head or bucket < window.head - window.n then
    return
  end
  redis.call('HINCRBY', window.key, slot_of(window, bucket), int(-cost))
  redis.call('HINCRBY', window.key, 's', int(-cost))
  if paced then
    local level = math.max(0, num(redis.call('HGET', window.key, 'p')) - cost * 1000000)
    redis.call('HSET', window.key, 'p', int(level))
  end
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
  local own = math.max(0, own_of(window, now) - math.max(0, window.charged - mark))
  local least = math.floor(own * 100 / (percent + 1))
  if window.unknown and least > window.limit then
    window.limit = least
    redis.call('HSET', window.key, 'l', int(least))
  end
end

local function doubt(window, now) -- a refusal came while the window was not full: how full it was is all we know
  local used = math.max(0, own_of(window, now)) + window.others
  if used >= 0.98 * window.limit then
    return -- the header had said so: the meter is right
  end
  redis.call('HSET', window.key, 'mw', int(math.max(LEAST_HEIGHT, used / window.limit) * 1000000), 'mt', int(now))
end

local function trust(window, percent, now) -- the header agrees with our own count: the limit is what we thought
  if window.doubted and math.abs(used_by(window, percent) - own_of(window, now)) <= window.limit / 50 then
    redis.call('HDEL', window.key, 'mw', 'mt')
  end
end

local function set_others(window, others, seq, rules, now)
  redis.call('HSET', window.key, 'x', int(others), 'xt', int(now), 'xs', int(seq))
  expire(window, rules)
end

-- Meta's header: believed at once when it rises, by a twentieth per reading when it falls. Less than a
-- percent is its rounding. A late answer does not overwrite what a newer call has read.
local function hear(window, percent, call, mark, rules, now)
  if call.seq <= window.read_seq then
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
  set_others(window, math.max(others, 0), call.seq, rules, now)
end
