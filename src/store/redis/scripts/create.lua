-- Stores a session if nothing conflicts, else returns the current state.
-- ARGV: tag, field, value (empty: only look), time to live, cap (empty: none), when it is due, realm, most sessions to name,
-- whether to name them in any case, fields of the sessions that are to end first
local now = redis.call('HMGET', P, ARGV[2], 'm')
local taken = now[1] or redis.call('GET', P .. ARGV[2])
local n, cap = redis.call('HLEN', P) - (now[2] and 1 or 0), tonumber(ARGV[5])
if ARGV[3] ~= '' and not taken and not now[2] and not (cap and n >= cap) then
  insert(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6], ARGV[7], n, n == 0)
  return 1
end
local left, ends = n, {}
for i = 10, #ARGV do
  local value = redis.call('HGET', P, ARGV[i])
  if value then left = left - 1 else value = redis.call('GET', P .. ARGV[i]) end
  ends[#ends + 1] = value
end
local others = {}
if ARGV[9] == '1' or (cap and left >= cap) then others = page('', ARGV[8])[3] end
return {taken, now[2], n, ends, others}
