-- Moves a moment forward, never back, also on a full server (see `write_tombstone` in place.lua).
-- KEYS: the moments by realm. ARGV: realm, moment
redis.call('HDEL', KEYS[1], '')
local now = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
if not now or now < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
