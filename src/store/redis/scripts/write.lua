-- Replaces a live session, if it is still of the version that the caller knows, and the marks are too.
-- KEYS: place, and on a single server the realm's sessions that are due.
-- ARGV: field, version, stamp of the marks, value; when it is due and session id, if it is due earlier than before
local now = redis.call('HMGET', KEYS[1], ARGV[1], 'm')
if not now[1] then
  now[3] = redis.call('GET', KEYS[1] .. ARGV[1])
elseif string.sub(now[1], 1, 5) == ARGV[2] and string.sub(now[2] or '', 1, 3) == ARGV[3] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
  if KEYS[2] then redis.pcall('ZADD', KEYS[2], 'LT', ARGV[5], ARGV[6]) end
  return 1
end
return now
