-- Moves entries of an index, those that are in it, also on a full server (see `write_tombstone` in place.lua).
-- KEYS: the index. ARGV: score and member of each
redis.call('ZREM', KEYS[1], '')
for i = 1, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'XX', ARGV[i], ARGV[i + 1]) end
return 1
