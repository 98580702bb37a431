-- Removes what was over before; at most so many are looked at. How many were, and how many went.
local before, removed = tonumber(ARGV[1]), 0
local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, sid in ipairs(due) do
  local h = redis.call('HMGET', key(sid), 't', 'u', 'e')
  local over = nil
  if h[3] then over = tonumber(string.match(h[3], ',(.*)')) elseif h[1] then over = deadline(parse(h[1])) end
  if over and over >= before then
    redis.call('ZADD', DUE, int(over), sid)
  else
    if over then removed = removed + 1 end
    forget(sid, h[2])
  end
end
return { #due, removed }
