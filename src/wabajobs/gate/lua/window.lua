-- A rolling window: a ring of n + 1 buckets in one hash, n of which are at least as long as the window
-- and the spread of arrivals together. It forgets whole buckets only, so it never lets too much through.
--
-- Fields: s sum of the ring   h head bucket        g grid: bucket width / n   0..n the buckets
--         c charged ever, begun at the time of the first charge: it orders the calls
--         p level of the pacer, in millionths of a call      t when that was
--         x used by others (from Meta's header)   xt when that was read   xs the order of the call that read it
--         xr when a call was last let through only to read the header again

local MOST_BUCKETS = 240

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

local function look(key, told, default, rules, now)
  local limit = told and cjson.decode(told) or default
  local length = limit[2]
  local width = math.ceil((length + rules.spread) / rules.buckets)
  local field = redis.call('HMGET', key, 's', 'h', 'g', 'c', 'p', 't', 'x', 'xt', 'xs', 'xr')
  local window = {
    key = key, limit = limit[1], length = length, width = width, n = rules.buckets,
    grid = int(width) .. '/' .. int(rules.buckets), bucket = math.floor(now / width),
    sum = num(field[1]), charged = num(field[4]), level = num(field[5]) / 1000000, paced_at = num(field[6]),
    read_at = num(field[8]), read_seq = num(field[9]), asked_at = num(field[10]),
  }
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
  window.usable = usable_of(window.limit, rules.share)
  if cost > window.usable then
    return nil, 'never'
  end
  local ring = ring_wait(window, window.sum + window.others + cost - window.usable, now)
  local pace = rules.paced and pace_wait(window, rules, slow, now) or 0
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
  if rules.paced then
    local n = #fields
    fields[n + 1], fields[n + 2] = 'p', int(math.floor((window.level + cost) * 1000000))
    fields[n + 3], fields[n + 4] = 't', int(now)
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

local function set_others(window, others, seq, rules, now)
  redis.call('HSET', window.key, 'x', int(others), 'xt', int(now), 'xs', int(seq))
  expire(window, rules)
end

local function used_by(window, percent) -- the middle of the step that a whole percent stands for
  if percent >= 100 then
    return window.limit
  end
  return math.min(window.limit, (percent + 0.5) / 100 * window.limit)
end

-- Meta's header: believed at once when it rises, by a twentieth per reading when it falls. Less than a
-- percent is its rounding. A late answer does not overwrite what a newer call has read.
local function hear(window, percent, call, mark, rules, now)
  if call.seq <= window.read_seq then
    return
  end
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
