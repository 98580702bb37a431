-- Replaces the marks of a place, if they are as the caller knows them; else answers with those there are.
-- KEYS: place, and on a single server the realm's sessions that are due, where the sweep then finds the place.
-- ARGV: stamp of the marks, new marks (empty: none), time to live, moment, tag
local marks = redis.call('HGET', P, 'm')
if stamp(marks) ~= ARGV[1] then return marks end
if ARGV[2] == '' then return redis.call('HDEL', P, 'm') end
redis.call('HDEL', P, '')  -- nothing: a write that needs no memory, so that a full server allows the next (see `write_tombstone`)
redis.call('HSET', P, 'm', ARGV[2])
keep(ARGV[3])
if KEYS[2] then redis.pcall('ZADD', KEYS[2], ARGV[4], ARGV[5]) end
return 1
