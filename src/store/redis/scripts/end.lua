-- sid, reason, at, only if idle since, whether to give its data, whether to leave a mark for a creation that is on its way.
local data = ARGV[5] == '1' and find(ARGV[1]) and data_of(ARGV[1]) or {}
local outcome, reason = finish(ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
if outcome == 'unknown' and ARGV[6] == '1' then
  redis.call('SET', P .. ':x:' .. ARGV[1], ARGV[2] .. ',' .. ARGV[3], 'PX', 60000)
  return { 'done', ARGV[2], data }
end
return { outcome, reason, data }
