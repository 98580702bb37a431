-- Puts a tombstone in place of a session, or of another tombstone, if it is still of the version that the caller knows.
-- ARGV: tag, field, version, stamp of the marks, tombstone, its time to live, when it may go
local now = redis.call('HMGET', P, ARGV[2], 'm')
if not now[1] then now[3] = redis.call('GET', P .. ARGV[2]) end
if version(now[1] or now[3]) == ARGV[3] and stamp(now[2]) == ARGV[4] then
  write_tombstone(ARGV[1], ARGV[2], now[1], ARGV[5], ARGV[6], ARGV[7])
  return 1
end
return now
