-- Who used an app's budget in the window: changes nothing.
-- KEYS: told
-- ARGV: the time or '', the window's length in microseconds
-- Answers {'queue|partner|waba', calls, ...}

local now, length = time_now(ARGV[1]), tonumber(ARGV[2])
local calls, answer = {}, {}
for part = 0, 12 do
  local fields = redis.call('HGETALL', spent_key(KEYS[1], now - part * length / 12, length))
  for i = 1, #fields, 2 do
    calls[fields[i]] = (calls[fields[i]] or 0) + tonumber(fields[i + 1])
  end
end
for who, count in pairs(calls) do
  answer[#answer + 1], answer[#answer + 2] = who, int(count)
end
return answer
