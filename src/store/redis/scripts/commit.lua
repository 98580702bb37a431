-- Ends sessions and stores one, in one step, if nothing has changed since the caller read it.
-- ARGV: tag, field, value (empty: store none), time to live, most sessions there may be before (empty: any number), when it is
-- due, realm, stamp of the marks, how many versions to compare; field and version of each; field, tombstone, its time to live
-- and when it may go of each session that ends
local field, value, most, expected = ARGV[2], ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[9])
if stamp(redis.call('HGET', P, 'm')) ~= ARGV[8] then return 0 end
if value ~= '' then
  if redis.call('HEXISTS', P, field) == 1 or redis.call('EXISTS', P .. field) == 1 then return 0 end
  if most and count() > most then return 0 end
end
local first = 10 + 2 * expected
for i = 10, first - 1, 2 do
  local stored = redis.call('HGET', P, ARGV[i]) or redis.call('GET', P .. ARGV[i])
  if version(stored) ~= ARGV[i + 1] then return 0 end
end
for i = first, #ARGV, 4 do
  write_tombstone(ARGV[1], ARGV[i], redis.call('HGET', P, ARGV[i]), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if value ~= '' then insert(ARGV[1], field, value, ARGV[4], ARGV[6], ARGV[7], count(), false) end
return 1
