-- Ends the sessions of a subject but one, and tells which for this reason: subject, reason, at, only if idle since, except.
local ended = {}
for _, sid in ipairs(redis.call('ZRANGE', owner(ARGV[1]), 0, -1)) do
  if sid ~= ARGV[5] then
    local outcome, reason = finish(sid, ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
    if outcome == 'unknown' then redis.call('ZREM', owner(ARGV[1]), sid) end
    if outcome == 'done' and reason == ARGV[2] then ended[#ended + 1] = sid end
  end
end
return ended
